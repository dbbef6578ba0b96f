"""Tables and figures."""


rule table:
    """The table of an experiment: a row for every model, text, method and rate.

    If a model cannot be downloaded, its `prepare` and the run fail with the reason. The table is
    still built; empty cells state the reason.
    """
    input:
        unpack(inputs_of_table),
    output:
        artifact=report(
            "results/{experiment}.csv",
            caption="../report/table.rst",
            category="Tables",
            subcategory=numbers_of,
            labels={"experiment": "{experiment}", "form": "CSV"},
        ),
        rendering="results/{experiment}.md",
        manifest="results/{experiment}.json",
    log:
        "logs/table/{experiment}.log",
    benchmark:
        "benchmarks/table/{experiment}.tsv"
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint_of("table"),
        overrides=overrides_of("table"),
        inputs=cells,
    shell:
        """
        radio table {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """


rule figure:
    """A figure, drawn from the table of the experiment that names it."""
    input:
        unpack(inputs_of("figure")),
    output:
        artifact=report(
            "results/figures/{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=numbers_of,
            labels={"figure": "{figure}", "form": "PNG"},
        ),
        vector=report(
            "results/figures/{figure}.pdf",
            caption="../report/figure.rst",
            category="Figures",
            subcategory=numbers_of,
            labels={"figure": "{figure}", "form": "PDF"},
        ),
        manifest="results/figures/{figure}.json",
    log:
        "logs/figure/{figure}.log",
    benchmark:
        "benchmarks/figure/{figure}.tsv"
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint_of("figure"),
        overrides=overrides_of("figure"),
        inputs=given,
    shell:
        """
        radio figure {params.overrides:q} \
            {params.inputs:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
