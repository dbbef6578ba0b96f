"""Quantized models."""


rule quantize:
    """Quantize all linear layers by one method at one rate, and write them packed."""
    input:
        unpack(inputs_of("quantize")),
    output:
        artifact="results/{model}/quantized/{method}/{rate}.safetensors",
        manifest="results/{model}/quantized/{method}/{rate}.json",
    log:
        "logs/quantize/{model}/{method}/{rate}.log",
    benchmark:
        "benchmarks/quantize/{model}/{method}/{rate}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("quantize"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("quantize"),
        overrides=overrides_of("quantize"),
        inputs=given,
    shell:
        """
        radio quantize {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
