"""Checkpoints, tokenized texts, and items of tasks."""


rule prepare:
    """Fetch, convert or train a model's checkpoint, and check every weight."""
    output:
        artifact="results/{model}/model.json",
    log:
        "logs/prepare/{model}.log",
    benchmark:
        "benchmarks/prepare/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 16
    resources:
        **asks("prepare"),
    params:
        fingerprint=fingerprint_of("prepare"),
        overrides=overrides_of("prepare"),
    shell:
        """
        radio prepare {params.overrides:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule tokenize:
    """Cut a text into token blocks: calibration, validation and test."""
    input:
        model="results/{model}/model.json",
    output:
        artifact="results/{model}/tokens/{data}.safetensors",
        manifest="results/{model}/tokens/{data}.json",
    log:
        "logs/tokenize/{model}/{data}.log",
    benchmark:
        "benchmarks/tokenize/{model}/{data}.tsv"
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint_of("tokenize"),
        overrides=overrides_of("tokenize"),
        inputs=given,
    shell:
        """
        radio tokenize {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule items:
    """Make the items of a set of downstream tasks."""
    output:
        artifact="results/tasks/{tasks}.jsonl",
        manifest="results/tasks/{tasks}.json",
    log:
        "logs/items/{tasks}.log",
    benchmark:
        "benchmarks/items/{tasks}.tsv"
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint_of("items"),
        overrides=overrides_of("items"),
    shell:
        """
        radio items {params.overrides:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
