"""Between the rules and radio.experiments, where their logic is and is tested."""

plan = Plan(overrides=tuple(config["overrides"]))


def targets(wildcards):
    """The tables of `experiments` in the configuration, and their figures."""
    return [path for name in config["experiments"] for path in plan.targets(name)]


def looked_up(lookup, *arguments):
    """Function of wildcards for `lookup`, which tells bad input without a traceback of ours."""

    def of(wildcards):
        try:
            return lookup(*arguments, **dict(wildcards.items()))
        except RadioError as error:
            raise RadioError(str(error)) from None

    return of


def inputs_of(step):
    """Function for `input`: what a job of `step` reads, looked up in its YAML files."""
    return looked_up(plan.inputs, step)


def overrides_of(step):
    """Function for `params`: Hydra overrides that make the job of `step` the one it is."""
    return looked_up(plan.arguments, step)


def recipe_of(step):
    """Function for `params`: the digest of all that decides the numbers of a job of `step`."""
    return looked_up(recipe, plan, step)


def given(wildcards, input):
    """Overrides that hand a job its inputs."""
    return [argument(name, path) for name, path in input.items()]
