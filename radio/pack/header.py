"""Headers of the layers in a quantized file, and their check against the file's tensors."""

from collections.abc import Mapping
from typing import Any, TypedDict

from torch import Tensor

from radio.pack.checks import FLOATS, check_names, check_shape, check_tensor
from radio.pack.codecs import CODECS

# prefix of tensors that several layers share; no module of a model has this name
SHARED = "shared_by_layers."


class LayerHeader(TypedDict):
    """Header of a layer: its codec and shape, the codec's fields, and names of its tensors."""

    codec: str
    shape: list[int]
    fields: dict[str, Any]
    tensors: list[str]
    shared: list[str]
    bias_added: bool


def checked_headers(tensors: Mapping[str, Tensor], headers: object) -> dict[str, LayerHeader]:
    """Return the headers of all layers after checking each field, and every tensor of the file.

    Raises:
        ValueError: a field or a tensor is invalid; the message begins with the layer's name.
    """
    if not isinstance(headers, dict):
        raise ValueError("its header does not list the layers")
    for name, header in headers.items():
        try:
            _check_layer(name, header, tensors)
        except ValueError as error:
            raise ValueError(f"layer {name}: {error}") from error
    _check_others(tensors, headers)
    return headers


def _check_layer(name: str, header: Any, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless a layer's header is complete and agrees with the tensors that it names."""
    if not isinstance(header, dict):
        raise ValueError(f"its header is of type {type(header).__name__}, not an object")
    check_names("header", header, set(LayerHeader.__annotations__), set())
    shape = check_shape("shape", header["shape"])
    if not shape[1]:
        raise ValueError(f"shape={header['shape']} has no columns")
    if not isinstance(header["fields"], dict):
        raise ValueError(f"fields={header['fields']!r} is not an object")
    if not isinstance(header["bias_added"], bool):
        raise ValueError(f"bias_added={header['bias_added']!r} is neither true nor false")
    if not isinstance(header["codec"], str) or header["codec"] not in CODECS:
        raise ValueError(f"codec={header['codec']!r} is unknown to this version of radio")
    own = _named(header, "tensors", f"{name}.", tensors)
    shared = _named(header, "shared", SHARED, tensors)
    bias = own.pop("bias", None)
    if bias is not None:
        check_tensor("bias", bias, FLOATS, shape[:1])
    elif header["bias_added"]:
        raise ValueError("bias_added is true, and the layer has no bias")
    if twice := own.keys() & shared.keys():
        raise ValueError(f"{min(twice)} is both of the layer and shared")
    CODECS[header["codec"]].check(own | shared, header["fields"], shape)


def _named(
    header: dict[str, Any], key: str, prefix: str, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the tensors that a header lists under `key`, which are in the file under `prefix`."""
    names = header[key]
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise ValueError(f"{key}={names!r} is not a list of names")
    if len(set(names)) < len(names):
        raise ValueError(f"{key}={names} has a name twice")
    for each in names:
        if prefix + each not in tensors:
            raise ValueError(f"{each} is not in the file")
    return {each: tensors[prefix + each] for each in names}


def _check_others(tensors: Mapping[str, Tensor], headers: Mapping[str, LayerHeader]) -> None:
    """Raise unless all tensors outside layers are finite parameters of the rest of the model."""
    coded = {f"{name}.{key}" for name, header in headers.items() for key in header["tensors"]}
    shared = {f"{SHARED}{key}" for header in headers.values() for key in header["shared"]}
    for name in sorted(tensors.keys() - coded - shared):
        if name.startswith(SHARED) or name.rpartition(".")[0] in headers:
            raise ValueError(f"{name} is a tensor that no layer has")
        check_tensor(name, tensors[name], FLOATS, tuple(tensors[name].shape))
