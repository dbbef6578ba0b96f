"""How fast packed matrices are multiplied."""


rule bench:
    """Time products with packed matrices beside dense ones: the paper's Table 7."""
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
    threads: workflow.cores
    resources:
        gpu=1,
    params:
        recipe=recipe_of("bench"),
        overrides=overrides_of("bench"),
    shell:
        """
        radio bench {params.overrides:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
