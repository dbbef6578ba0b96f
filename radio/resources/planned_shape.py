"""Shape of a model that may not be on this machine yet."""

from radio.models.random_weights import configuration
from radio.models.spec import ModelSpec, RandomSource
from radio.resources.model_shape import Geometry
from radio.runtime.errors import RadioError


def geometry_of(spec: ModelSpec) -> Geometry:
    """Return a model's geometry, from its YAML or from a checkpoint on this machine.

    Raises:
        RadioError: neither source has it.
    """
    if spec.path is not None:
        return Geometry.of_checkpoint(spec.path)
    settings = spec.architecture
    if isinstance(spec.source, RandomSource):
        settings = configuration(spec.source)
    if settings is None or spec.family is None:
        raise RadioError(
            f"model {spec.name!r} has no architecture in its YAML: add it from config.json, or "
            "give model=local model.path=DIR"
        )
    return Geometry.of_architecture(spec.family, settings)
