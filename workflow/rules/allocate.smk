"""Bit depths of all groups."""


rule codebook:
    """Learn the reconstruction points of every depth from a model's weights."""
    input:
        unpack(inputs_of("codebook")),
    output:
        artifact="results/{model}/codebook/{method}.safetensors",
        manifest="results/{model}/codebook/{method}.json",
    log:
        "logs/codebook/{model}/{method}.log",
    benchmark:
        "benchmarks/codebook/{model}/{method}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("codebook"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("codebook"),
        overrides=overrides_of("codebook"),
        inputs=given,
    shell:
        """
        radio codebook {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule distortion:
    """Measure every group's squared error at every depth."""
    input:
        unpack(inputs_of("distortion")),
    output:
        artifact="results/{model}/distortion/{method}.safetensors",
        manifest="results/{model}/distortion/{method}.json",
    log:
        "logs/distortion/{model}/{method}.log",
    benchmark:
        "benchmarks/distortion/{model}/{method}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("distortion"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("distortion"),
        overrides=overrides_of("distortion"),
        inputs=given,
    shell:
        """
        radio distortion {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule target:
    """Find the lowest rate that meets a target of accuracy on validation text."""
    input:
        unpack(inputs_of("target")),
    output:
        artifact="results/{model}/target/{method}/{rate}.json",
    log:
        "logs/target/{model}/{method}/{rate}.log",
    benchmark:
        "benchmarks/target/{model}/{method}/{rate}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("target"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("target"),
        overrides=overrides_of("target"),
        inputs=given,
    shell:
        """
        radio target {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule allocate:
    """Solve for the bit depth of every group at one rate."""
    input:
        unpack(inputs_of("allocate")),
    output:
        artifact="results/{model}/allocation/{method}/{rate}.safetensors",
        manifest="results/{model}/allocation/{method}/{rate}.json",
    log:
        "logs/allocate/{model}/{method}/{rate}.log",
    benchmark:
        "benchmarks/allocate/{model}/{method}/{rate}.tsv"
    conda:
        "../../environment.yml"
    resources:
        **asks("allocate"),
    params:
        fingerprint=fingerprint_of("allocate"),
        overrides=overrides_of("allocate"),
        inputs=given,
    shell:
        """
        radio allocate {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
