"""What the weights are worth, measured, and the bits that each group gets for it."""


rule calibrate:
    """Measure gradient variances and input means of every linear layer."""
    input:
        unpack(inputs_of("calibrate")),
    output:
        artifact="results/{model}/statistics/{calibration}.safetensors",
        manifest="results/{model}/statistics/{calibration}.json",
    log:
        "logs/calibrate/{model}/{calibration}.log",
    benchmark:
        "benchmarks/calibrate/{model}/{calibration}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        gpu=1,
    params:
        recipe=recipe_of("calibrate"),
        overrides=plan.overrides_of("calibrate"),
        inputs=given,
    shell:
        """
        radio calibrate {params.overrides:q} \
            model={wildcards.model:q} \
            calibration={wildcards.calibration:q} \
            {params.inputs:q} \
            threads={threads} \
            out={output.artifact:q} \
            >{log:q} 2>&1
        """


rule allocate:
    """Solve for the bit depth of every group at one mean rate."""
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
    params:
        recipe=recipe_of("allocate"),
        overrides=plan.overrides_of("allocate"),
        inputs=given,
    shell:
        """
        radio allocate {params.overrides:q} \
            rate_bits={wildcards.rate:q} \
            {params.inputs:q} \
            threads={threads} \
            out={output.artifact:q} \
            >{log:q} 2>&1
        """
