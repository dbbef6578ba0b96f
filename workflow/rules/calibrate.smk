"""Sensitivity statistics of the weights."""


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
        **asks("calibrate"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("calibrate"),
        overrides=overrides_of("calibrate"),
        inputs=given,
    shell:
        """
        radio calibrate {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule refine:
    """Estimate the statistics for a rate iteratively, each time at the last quantized weights."""
    input:
        unpack(inputs_of("refine")),
    output:
        artifact="results/{model}/refined/{method}/{rate}.safetensors",
        manifest="results/{model}/refined/{method}/{rate}.json",
    log:
        "logs/refine/{model}/{method}/{rate}.log",
    benchmark:
        "benchmarks/refine/{model}/{method}/{rate}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("refine"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("refine"),
        overrides=overrides_of("refine"),
        inputs=given,
    shell:
        """
        radio refine {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
