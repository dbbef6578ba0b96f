"""Speed of products and of text generation with packed matrices.

These jobs run alone on the machine, so that threads may spin: waking one takes longer than a product.
"""


rule bench:
    """Time products with packed matrices, dense matrices and ggml's: the paper's Table 7."""
    input:
        unpack(inputs_of("bench")),
    output:
        artifact=report(
            "results/table_kernel.csv",
            caption="../report/kernel.rst",
            category="Tables",
            subcategory="Table 7",
            labels={"experiment": "table_kernel", "form": "CSV"},
        ),
        rendering="results/table_kernel.md",
        manifest="results/table_kernel.json",
    log:
        "logs/bench/table_kernel.log",
    benchmark:
        "benchmarks/bench/table_kernel.tsv"
    conda:
        "../../environment.yml"
    threads: all_cores
    resources:
        gpu=1,
    params:
        fingerprint=fingerprint_of("bench"),
        overrides=overrides_of("bench"),
        inputs=given,
    shell:
        """
        OMP_WAIT_POLICY=active radio bench {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule decode:
    """Time generation with packed weights, dense weights and llama.cpp."""
    input:
        unpack(inputs_of("decode")),
    output:
        artifact=report(
            "results/table_decode.csv",
            caption="../report/decode.rst",
            category="Tables",
            subcategory="Table 7",
            labels={"experiment": "table_decode", "form": "CSV"},
        ),
        rendering="results/table_decode.md",
        manifest="results/table_decode.json",
    log:
        "logs/decode/table_decode.log",
    benchmark:
        "benchmarks/decode/table_decode.tsv"
    conda:
        "../../environment.yml"
    threads: all_cores
    params:
        fingerprint=fingerprint_of("decode"),
        overrides=overrides_of("decode"),
        inputs=given,
    shell:
        """
        OMP_WAIT_POLICY=active radio decode {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
