"""The paper's tables and figures by their numbers, and all of their values in one ledger.

config/ledger.yaml lists the experiments and figures of each. `_embedded` are the same studies on
models that need no hub; Table 7 and Figure 2 have no model.
"""


rule table_1:
    """Table 1: perplexity on WikiText2 of all OPT and Llama-2 sizes, all methods, 4 and 3 bits."""
    input:
        targets_of("table_1"),


rule table_1_embedded:
    """Table 1 on SmolLM2-135M and Wikipedia, at nominal rates and at equal bpw."""
    input:
        targets_of("table_1", embedded=True),


rule table_2:
    """Table 2: batch size, tokens per sequence and group size, OPT-1.3B and 13B on C4."""
    input:
        targets_of("table_2"),


rule table_2_embedded:
    """Table 2 on OPT-nano (the paper's loop) and SmolLM2-135M (fast mode), over seeds."""
    input:
        targets_of("table_2", embedded=True),


rule table_3a:
    """Table 3(a): gain of each step of the method, OPT-1.3B and 13B on C4."""
    input:
        targets_of("table_3a"),


rule table_3a_embedded:
    """Table 3(a) on SmolLM2-135M, and steps beyond the paper."""
    input:
        targets_of("table_3a", embedded=True),


rule table_3b:
    """Table 3(b): weights at depth 0, by group size, OPT-350M, 1.3B and 13B."""
    input:
        targets_of("table_3b"),


rule table_3b_embedded:
    """Table 3(b) on SmolLM2-135M: the column `pruned`."""
    input:
        targets_of("table_3b", embedded=True),


rule table_3c:
    """Table 3(c): cost of side information, by group size, OPT-350M, 1.3B and 13B."""
    input:
        targets_of("table_3c"),


rule table_3c_embedded:
    """Table 3(c) on SmolLM2-135M: bpw minus mean depth."""
    input:
        targets_of("table_3c", embedded=True),


rule table_4a:
    """Table 4(a): 2.1 to 2.8 bits, Llama-2-7B on WikiText2, compared with OWQ."""
    input:
        targets_of("table_4a"),


rule table_4a_embedded:
    """Table 4(a) on SmolLM2-135M and Wikipedia."""
    input:
        targets_of("table_4a", embedded=True),


rule table_4b:
    """Table 4(b): GSM8K and the mean of five question sets, Llama-2 at 3 bits."""
    input:
        targets_of("table_4b"),


rule table_4b_embedded:
    """Table 4(b) on SmolLM2-135M, with tasks that need no hub."""
    input:
        targets_of("table_4b", embedded=True),


rule table_4c:
    """Table 4(c): five question sets, Llama-2 at 3 bits."""
    input:
        targets_of("table_4c"),


rule table_4c_embedded:
    """Table 4(c) on SmolLM2-135M, with tasks that need no hub."""
    input:
        targets_of("table_4c", embedded=True),


rule table_5:
    """Table 5: perplexity on C4 of all OPT and Llama-2 sizes, all methods, 4 and 3 bits."""
    input:
        targets_of("table_5"),


rule table_5_embedded:
    """Table 5 on SmolLM2-135M and Wikipedia: the tables of table_1_embedded."""
    input:
        targets_of("table_5", embedded=True),


rule table_6:
    """Table 6: time of quantization to 3 bits, Llama-2: the column `wall_s`."""
    input:
        targets_of("table_6"),


rule table_6_embedded:
    """Table 6 on random weights in the geometries of OPT 125M to 6.7B and Llama-2-7B."""
    input:
        targets_of("table_6", embedded=True),


rule table_7:
    """Table 7: products with packed matrices and dense ones, on this machine."""
    input:
        targets_of("table_7"),


rule figure_1:
    """Figure 1: where the optimal depths of two matrices lie, OPT-125M."""
    input:
        targets_of("figure_1"),


rule figure_1_embedded:
    """Figure 1 on SmolLM2-135M."""
    input:
        targets_of("figure_1", embedded=True),


rule figure_2:
    """Figure 2: uniform and companded quantizers over the density of weights (no model)."""
    input:
        targets_of("figure_2"),


rule figure_3:
    """Figure 3: bits that grouping saves, and the atlas of depths, OPT-125M."""
    input:
        targets_of("figure_3"),


rule figure_3_embedded:
    """Figure 3 on SmolLM2-135M."""
    input:
        targets_of("figure_3", embedded=True),


rule figure_4:
    """Figure 4: perplexity against iteration of the paper's loop, OPT-125M."""
    input:
        targets_of("figure_4"),


rule figure_4_embedded:
    """Figure 4 on OPT-nano."""
    input:
        targets_of("figure_4", embedded=True),


rule paper:
    """All tables and figures of the paper that fit on this machine, and the ledger."""
    input:
        targets_of_paper,


rule ledger:
    """Every value of the paper's tables next to ours, with verdict and provenance."""
    output:
        artifact=report(
            "results/ledger.csv",
            caption="../report/ledger.rst",
            category="Ledger",
            labels={"ledger": "all values", "form": "CSV"},
        ),
        page=report(
            "results/ledger.html",
            caption="../report/ledger.rst",
            category="Ledger",
            labels={"ledger": "all values", "form": "page"},
        ),
        manifest="results/ledger.json",
    log:
        "logs/ledger/ledger.log",
    benchmark:
        "benchmarks/ledger/ledger.tsv"
    conda:
        "../../environment.yml"
    params:
        fingerprint=fingerprint_of("ledger"),
        overrides=overrides_of("ledger"),
        manifests=digest_of_manifests,
    shell:
        """
        radio ledger {params.overrides:q} \
            threads={threads} \
            "out='{output.artifact}'" \
            >{log:q} 2>&1
        """
