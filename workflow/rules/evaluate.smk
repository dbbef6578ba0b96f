"""Accuracy of coded models compared with the original."""


rule reference:
    """Run the uncompressed model on a test text, once for all methods."""
    input:
        model="results/{model}/model.json",
        tokens="results/{model}/tokens/{data}.safetensors",
    output:
        artifact="results/{model}/reference/{data}.safetensors",
        manifest="results/{model}/reference/{data}.json",
    log:
        "logs/reference/{model}/{data}.log",
    benchmark:
        "benchmarks/reference/{model}/{data}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("reference"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("reference"),
        overrides=overrides_of("reference"),
        inputs=given,
    shell:
        """
        radio reference {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule evaluate:
    """Measure perplexity of a coded model and its divergence from the original."""
    input:
        model="results/{model}/model.json",
        tokens="results/{model}/tokens/{data}.safetensors",
        reference="results/{model}/reference/{data}.safetensors",
        quantized="results/{model}/quantized/{method}/{rate}.safetensors",
    output:
        artifact="results/{model}/evaluation/{method}/{rate}/{data}.csv",
        manifest="results/{model}/evaluation/{method}/{rate}/{data}.json",
    log:
        "logs/evaluate/{model}/{method}/{rate}/{data}.log",
    benchmark:
        "benchmarks/evaluate/{model}/{method}/{rate}/{data}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("evaluate"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("evaluate"),
        overrides=overrides_of("evaluate"),
        inputs=given,
    shell:
        """
        radio evaluate {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule downstream:
    """Run a set of downstream tasks on a coded model through lm-eval."""
    input:
        unpack(inputs_of("downstream")),
    output:
        artifact="results/{model}/downstream/{method}/{rate}/{tasks}.csv",
        manifest="results/{model}/downstream/{method}/{rate}/{tasks}.json",
    log:
        "logs/downstream/{model}/{method}/{rate}/{tasks}.log",
    benchmark:
        "benchmarks/downstream/{model}/{method}/{rate}/{tasks}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("downstream"),
        gpu=1,
    params:
        fingerprint=fingerprint_of("downstream"),
        overrides=overrides_of("downstream"),
        inputs=given,
    shell:
        """
        radio downstream {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
