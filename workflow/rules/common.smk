"""Between the rules and radio.workflow, where their logic is and is tested."""

# on the command line Snakemake reads `true` as a word
is_smoke, is_partial = (
    str(config[name]).lower() == "true" for name in ("smoke", "partial")
)
shortened = config["smoke_overrides"] if is_smoke else []
plan = JobGraph(overrides=(*shortened, *config["overrides"]))
# for jobs that have a machine for themselves; a cluster has no number of cores
all_cores = workflow.resource_settings.cores or 16
# experiments whose tables are in the graph; what this machine makes of the paper, once it is asked
tabled, fitting = set(), []
# the lock on the directory, kept until this process ends
held = []


def targets(wildcards):
    """The tables of `experiments` in the configuration, or of smoke, and their figures."""
    names = smoke_experiments(plan) if is_smoke else config["experiments"]
    return [path for name in names for path in plainly(plan.targets, name)]


def plainly(lookup, *arguments, **names):
    """Return what `lookup` returns; of bad input show the sentence and not where it was found."""
    try:
        return lookup(*arguments, **names)
    except RadioError as error:
        raise RadioError(str(error)) from None


def looked_up(lookup, *arguments):
    """Return the function of wildcards for `lookup`."""
    return lambda wildcards: plainly(lookup, *arguments, **dict(wildcards.items()))


def inputs_of(step):
    """Function for `input`: what a job of `step` reads, looked up in its YAML files."""
    return looked_up(plan.inputs, step)


def inputs_of_table(wildcards):
    """The evaluations of an experiment; under `partial=true` those that are there."""
    looked_up(check_smoke, is_smoke)(wildcards)
    tabled.add(wildcards.experiment)
    inputs = inputs_of("table")(wildcards)
    return existing(inputs) if is_partial else inputs


def overrides_of(step):
    """Function for `params`: Hydra overrides that make the job of `step` the one it is."""
    return looked_up(plan.arguments, step)


def fingerprint_of(step):
    """Function for `params`: the digest of all that decides the numbers of a job of `step`."""
    return looked_up(fingerprint, plan, step)


def asks(step):
    """For `resources`: what a job of `step` asks of a cluster; on one machine nothing is computed."""
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
    """Memory, time and disk of a job, in Snakemake's units."""
    from radio.resources.cluster import asked  # which imports torch

    of = job(step, dict(names))
    node = config["node_device"], config["node_memory_gb"]
    return plainly(asked, plan, of, *node, attempt)


def given(wildcards, input):
    """Overrides that hand a job its inputs."""
    return [argument(name, path) for name, path in input.items()]


def cells(wildcards):
    """Overrides that tell a table of all its cells, whether they are there or not."""
    return [
        argument(name, paths) for name, paths in inputs_of("table")(wildcards).items()
    ]


def targets_of(name, embedded=False):
    """Function for `input`: what a table or figure of the paper is made of."""
    return lambda wildcards: plainly(paper_targets, plan, name, embedded=embedded)


def numbers_of(wildcards):
    """For `report`: the paper's numbers of what an experiment or a figure is about."""
    name = dict(wildcards.items()).popitem()[1]
    return ", ".join(paper_numbers(plan, name)) or "Beyond the paper"


def targets_of_paper(wildcards):
    """What this machine can make of the paper, having said what it cannot."""
    found = fitting_targets(plan)
    fitting.append(found)
    for sentence in found.sentences():
        logger.warning(sentence)
    return found.targets


def digest_of_manifests(wildcards):
    """For `params`: what the ledger is read from, which no input of a rule can say."""
    return manifests_digest()


def finish():
    """Make the tables that lack models of what is there, and after `paper` the ledger."""
    names = set(tabled)
    for found in fitting:
        keep_reasons(found.too_large)
        names |= set(found.without)
    without = {name: missing_models(plan, name) for name in sorted(names)}
    without = {name: models for name, models in without.items() if models}
    for name, models in without.items():
        for model, reason in models.items():
            logger.error(f"{name} is made without {model}: {reason}")
    # git keeps the ledger's CSV, maybe of elsewhere
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
    # jobs hand it to W&B, which groups their runs by it
    made = ["paper"] if fitting else sorted(tabled)
    if made:
        os.environ.setdefault("WANDB_RUN_GROUP", " ".join(made)[:128])


onsuccess:
    finish()


onerror:
    finish()
