"""Adapters from the rules to radio.workflow, which contains the logic and is tested."""

# on the command line, Snakemake reads `true` as a string
is_smoke, is_partial = (
    str(config[name]).lower() == "true" for name in ("smoke", "partial")
)
shortened = config["smoke_overrides"] if is_smoke else []
plan = JobGraph(overrides=(*shortened, *config["overrides"]))
# for jobs that run alone on a machine; on a cluster, the number of cores is unknown
all_cores = workflow.resource_settings.cores or 16
# experiments whose tables are in the graph; the part of the paper that fits, if it is requested
tabled, fitting = set(), []
# the lock on the directory, held until this process ends
held = []


def targets(wildcards):
    """Return the tables and figures of `experiments` in the configuration, or of the smoke run."""
    names = smoke_experiments(plan) if is_smoke else config["experiments"]
    return [path for name in names for path in plainly(plan.targets, name)]


def plainly(lookup, *arguments, **names):
    """Return the result of `lookup`; reduce the traceback of bad input to its message."""
    try:
        return lookup(*arguments, **names)
    except RadioError as error:
        raise RadioError(str(error)) from None


def looked_up(lookup, *arguments):
    """Return `lookup` as a function of wildcards."""
    return lambda wildcards: plainly(lookup, *arguments, **dict(wildcards.items()))


def inputs_of(step):
    """Return a function for `input`: the input paths of a job of `step`, from its YAML files."""
    return looked_up(plan.inputs, step)


def inputs_of_table(wildcards):
    """Return the evaluations of an experiment; with `partial=true`, the existing ones."""
    looked_up(check_smoke, is_smoke)(wildcards)
    tabled.add(wildcards.experiment)
    inputs = inputs_of("table")(wildcards)
    return existing(inputs) if is_partial else inputs


def overrides_of(step):
    """Return a function for `params`: the Hydra overrides of a job of `step`."""
    return looked_up(plan.arguments, step)


def fingerprint_of(step):
    """Return a function for `params`: the fingerprint of a job of `step`."""
    return looked_up(fingerprint, plan, step)


def asks(step):
    """Return functions for `resources`: a job's request on a cluster; none on a single machine."""
    whole_nodes = workflow.resource_settings.nodes is not None
    if not whole_nodes or workflow.remote_exec or workflow.subprocess_exec:
        return {}

    def function_for(what):
        return lambda wildcards, attempt: getattr(
            sized(step, attempt, tuple(wildcards.items())), what
        )

    return {what: function_for(what) for what in ("mem_mb", "runtime", "disk_mb")}


@cache
def sized(step, attempt, names):
    """Return memory, time and disk of a job, in Snakemake's units."""
    from radio.resources.cluster import asked  # which imports torch

    of = job(step, dict(names))
    node = config["node_device"], config["node_memory_gb"]
    return plainly(asked, plan, of, *node, attempt)


def given(wildcards, input):
    """Return the overrides that pass a job its inputs."""
    return [argument(name, path) for name, path in input.items()]


def cells(wildcards):
    """Return the overrides that pass a table all its cells, whether they exist or not."""
    return [
        argument(name, paths) for name, paths in inputs_of("table")(wildcards).items()
    ]


def targets_of(name, embedded=False):
    """Return a function for `input`: the paths that reproduce a table or figure of the paper."""
    return lambda wildcards: plainly(paper_targets, plan, name, embedded=embedded)


def numbers_of(wildcards):
    """Return, for `report`, the paper's tables or figures that a wildcard's value reproduces."""
    name = dict(wildcards.items()).popitem()[1]
    return ", ".join(paper_numbers(plan, name)) or "Beyond the paper"


def targets_of_paper(wildcards):
    """Return the paper's targets that fit on this machine; log what is left out."""
    found = fitting_targets(plan)
    fitting.append(found)
    for sentence in found.sentences():
        logger.warning(sentence)
    return found.targets


def digest_of_manifests(wildcards):
    """Return, for `params`, the digest of the ledger's sources, which are not rule inputs."""
    return manifests_digest()


def finish():
    """Build tables with missing models from available results, and, after `paper`, the ledger."""
    names = set(tabled)
    for found in fitting:
        keep_reasons(found.too_large)
        names |= set(found.without)
    without = {name: missing_models(plan, name) for name in sorted(names)}
    without = {name: models for name, models in without.items() if models}
    for name, models in without.items():
        for model, reason in models.items():
            logger.error(f"{name} is made without {model}: {reason}")
    # the page is requested, since git contains the CSV, possibly from another machine
    ledger = ["results/ledger.html"] if fitting else []
    if (without or ledger) and not is_partial:
        command = partial_command(workflow.main_snakefile, without, config, ledger)
        if subprocess.run(command, check=False).returncode:
            logger.error(
                f"not made: {' '.join([*without, *ledger])}; "
                "--config partial=true -- results/NAME.csv says why"
            )


onstart:
    try:
        held.append(hold_workflow_lock(Path(".snakemake")))
    except RadioError as error:
        raise WorkflowError(str(error)) from None
    # W&B groups the runs of jobs by this variable
    made = ["paper"] if fitting else sorted(tabled)
    if made:
        os.environ.setdefault("WANDB_RUN_GROUP", " ".join(made)[:128])


onsuccess:
    finish()


onerror:
    finish()
