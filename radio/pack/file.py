"""A quantized model in one file: coded linear layers, and all other tensors in float16.

Tensors that float16 cannot represent are stored in a wider type (`radio.pack.floats`).
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.models import StreamedModel, decoder_linears
from radio.pack.checks import is_finite
from radio.pack.codecs import CODECS, QuantizedLinear
from radio.pack.codecs.linear import install_layer
from radio.pack.floats import stored
from radio.pack.header import SHARED, LayerHeader, checked_headers
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors, tensors_bytes

# 2: every tensor has a checksum. 3: codes are stored under the names of the weights, so that
# programs without radio reject the file
FORMAT_VERSION = 3


@dataclass(frozen=True)
class Size:
    """Stored size of coded layers.

    Attributes:
        weights: number of quantized weights.
        code_bits: bits of the codes alone.
        own_bytes: codes, side information and added biases, without shared tensors.
        shared_bytes: tensors that layers share.
    """

    weights: int
    code_bits: int
    own_bytes: int
    shared_bytes: int

    def mean_depth(self) -> float:
        """Return the mean bit depth, the rate in the paper: bits of codes alone per weight."""
        return self.code_bits / self.weights

    def bpw(self) -> float:
        """Return stored bits per quantized weight: codes, side information and added biases."""
        return 8 * (self.own_bytes + self.shared_bytes) / self.weights


@dataclass(frozen=True)
class QuantizedModel:
    """Coded linear layers by name, and the other parameters of the model by name."""

    layers: Mapping[str, QuantizedLinear]
    rest: dict[str, Tensor]

    def size(self) -> Size:
        """Return the stored size of the coded layers."""
        return Size(
            weights=sum(
                rows * cols for rows, cols in (q.weight.shape for q in self.layers.values())
            ),
            code_bits=sum(layer.weight.code_bits() for layer in self.layers.values()),
            own_bytes=sum(layer.stored_bytes() for layer in self.layers.values()),
            shared_bytes=sum(tensor.nbytes for tensor in self.shared().values()),
        )

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return rows and columns of each coded layer; mapped layers are not unpacked."""
        if isinstance(self.layers, _Mapped):
            return self.layers.shapes()
        return {name: layer.weight.shape for name, layer in self.layers.items()}

    def weights(self) -> int:
        """Return the number of quantized weights."""
        return self.size().weights

    def mean_depth(self) -> float:
        """Return `Size.mean_depth` of the layers."""
        return self.size().mean_depth()

    def bpw(self) -> float:
        """Return `Size.bpw` of the layers."""
        return self.size().bpw()

    def shared(self) -> dict[str, Tensor]:
        """Return the tensors that layers share, each once.

        Raises:
            ValueError: layers have different tensors of the same name.
        """
        shared: dict[str, Tensor] = {}
        for layer in self.layers.values():
            for key, tensor in layer.weight.shared_tensors().items():
                if not torch.equal(shared.setdefault(key, tensor), tensor):
                    raise ValueError(f"layers do not share one {key}")
        return shared


def assemble(
    model: nn.Module, layers: Mapping[str, QuantizedLinear], prefix: str = ""
) -> QuantizedModel:
    """Combine coded layers with the model's other parameters; tied copies are kept once.

    Args:
        model: a whole model, or a part of one.
        layers: coded layers by full name.
        prefix: prefix of the parameter names if `model` is a part.
    """
    coded = {f"{name}.{kind}" for name in layers for kind in ("weight", "bias")}
    named = model.named_parameters(prefix)
    rest = {n: stored(p.detach()) for n, p in named if n not in coded}
    return QuantizedModel(dict(layers), rest)


def save_quantized(path: Path, quantized: QuantizedModel) -> None:
    """Write one safetensors file; its payload is codes, side information and other parameters."""
    save_tensors(path, *_content(quantized))


def part_content(part: QuantizedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return some of a model's layers as tensors and JSON values, for `join_parts`."""
    tensors, metadata = _content(part)
    size = dataclasses.asdict(part.size()) if part.layers else None
    return tensors, {**metadata, "size": size}


def join_parts(path: Path, parts: Iterable[tuple[Mapping[str, Tensor], Mapping[str, Any]]]) -> Size:
    """Write the file that `save_quantized` would write for all parts together; return its size.

    Memory-mapped tensors of the parts are not copied, so the system can reclaim their memory.

    Args:
        path: path of the file.
        parts: results of `part_content`.

    Raises:
        ValueError: layers have different shared tensors of the same name.
    """
    tensors: dict[str, Tensor] = {}
    headers: dict[str, LayerHeader] = {}
    sizes: list[Size] = []
    for own, metadata in parts:
        for key, tensor in own.items():
            if key in tensors and not torch.equal(tensors[key], tensor):
                raise ValueError(f"layers do not share one {key}")
            tensors.setdefault(key, tensor)
        headers |= metadata["layers"]
        if metadata["size"] is not None:
            sizes.append(Size(**metadata["size"]))
    save_tensors(path, tensors, _metadata(headers))
    return Size(
        weights=sum(size.weights for size in sizes),
        code_bits=sum(size.code_bits for size in sizes),
        own_bytes=sum(size.own_bytes for size in sizes),
        shared_bytes=max(size.shared_bytes for size in sizes),
    )


def file_bytes(quantized: QuantizedModel) -> int:
    """Return an upper bound, tight to a few bytes, on the file size of `save_quantized`.

    Nothing is written, and values do not matter: tensors expanded from one number suffice.
    """
    return tensors_bytes(*_content(quantized))


def _content(quantized: QuantizedModel) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and metadata of the file."""
    tensors = quantized.rest | {f"{SHARED}{key}": t for key, t in quantized.shared().items()}
    headers: dict[str, LayerHeader] = {}
    for name, layer in quantized.layers.items():
        own = layer.weight.to_tensors()
        if layer.bias is not None:
            own |= {"bias": layer.bias}
        tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        headers[name] = {
            "codec": layer.weight.name,
            "shape": list(layer.weight.shape),
            "fields": layer.weight.fields(),
            "tensors": sorted(own),
            "shared": sorted(layer.weight.shared_tensors()),
            "bias_added": layer.bias_added,
        }
    return tensors, _metadata(headers)


def _metadata(headers: Mapping[str, LayerHeader]) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, "layers": dict(headers)}


def load_quantized(path: Path) -> QuantizedModel:
    """Read a file written by `save_quantized`.

    Raises:
        RadioError: the file is absent or corrupt, has an invalid field, or has another format
            version.
    """
    mapped = map_quantized(path)
    return QuantizedModel(dict(mapped.layers), mapped.rest)


def map_quantized(path: Path) -> QuantizedModel:
    """Read the same file, but unpack a layer each time it is accessed.

    Raises:
        RadioError: as for `load_quantized`.
    """
    tensors, headers = load_coded(path)
    coded = {f"{name}.{key}" for name, header in headers.items() for key in header["tensors"]}
    rest = {n: t for n, t in tensors.items() if n not in coded and not n.startswith(SHARED)}
    return QuantizedModel(_Mapped(tensors, headers), rest)


class _Mapped(Mapping[str, QuantizedLinear]):
    """Layers of a quantized file by name, unpacked at each access."""

    def __init__(self, tensors: Mapping[str, Tensor], headers: Mapping[str, LayerHeader]) -> None:
        self._tensors, self._headers = tensors, headers

    def __getitem__(self, name: str) -> QuantizedLinear:
        header = self._headers[name]
        own = {key: self._tensors[f"{name}.{key}"] for key in header["tensors"]}
        bias = own.pop("bias", None)
        own |= {key: self._tensors[f"{SHARED}{key}"] for key in header["shared"]}
        weight = CODECS[header["codec"]].from_tensors(own, header["fields"])
        return QuantizedLinear(weight, bias, header["bias_added"])

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return rows and columns by layer, from the headers."""
        return {name: (h["shape"][0], h["shape"][1]) for name, h in self._headers.items()}

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)

    def __len__(self) -> int:
        return len(self._headers)


def load_coded(path: Path) -> tuple[dict[str, Tensor], dict[str, LayerHeader]]:
    """Return the stored tensors of a quantized file (mapped, not copied) and the layers' headers.

    All indices and sizes are checked here, so that readers of the file need no further checks.

    Raises:
        RadioError: as for `load_quantized`.
    """
    tensors, metadata = load_tensors(path)
    check_version(metadata.get("format_version"), path)
    try:
        with _float32_on_cpu():
            return tensors, checked_headers(tensors, metadata.get("layers"))
    except ValueError as error:
        raise RadioError(f"{path} is damaged ({error}): delete it and run again") from error


@contextmanager
def _float32_on_cpu() -> Iterator[None]:
    """Restore default dtype and device: transformers changes them while it loads a model."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def check_version(version: Any, where: object) -> None:
    """Reject a format version that this code does not read.

    Raises:
        RadioError: the version is not `FORMAT_VERSION`.
    """
    if version != FORMAT_VERSION:
        raise RadioError(
            f"{where} has format_version={version}, this radio reads {FORMAT_VERSION}: "
            "quantize again, or use the version of radio that wrote it"
        )


def install(model: PreTrainedModel, quantized: QuantizedModel) -> PreTrainedModel:
    """Overwrite every parameter of `model` with the decoded one of the file, and return `model`.

    Raises:
        RadioError: the file belongs to another architecture.
    """
    _check_fits(model, quantized)
    _install_part(model, quantized)
    return model


def install_streamed(streamed: StreamedModel, quantized: QuantizedModel) -> None:
    """Do the same for a model on disk: outside the blocks now, in each block when it is read.

    Raises:
        RadioError: the file belongs to another architecture.
    """
    _check_fits(streamed.model, quantized)
    _install_part(streamed.model, quantized)
    streamed.edit = lambda name, block: _install_part(block, quantized, name)


def _check_fits(model: PreTrainedModel, quantized: QuantizedModel) -> None:
    coded = {name: each.weight.shape for name, each in decoder_linears(model).items()}
    uncoded = {
        name: parameter.shape
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[0] not in coded
    }
    rest = {name: tensor.shape for name, tensor in quantized.rest.items()}
    if coded != quantized.shapes() or uncoded != rest:
        raise RadioError(
            f"the quantized file does not fit model {model.name_or_path}: "
            "give the model it was made from"
        )


@torch.no_grad()
def _install_part(part: nn.Module, quantized: QuantizedModel, prefix: str = "") -> None:
    """Overwrite the parameters of a part of a model, except those on the meta device."""
    for name, parameter in part.named_parameters(prefix):
        if name in quantized.rest and not parameter.is_meta:
            parameter.copy_(quantized.rest[name])
            check_holds(name, parameter)
    for name, module in part.named_modules(prefix=prefix):
        if name in quantized.layers:
            assert isinstance(module, nn.Linear)
            if not module.weight.is_meta:
                install_layer(module, quantized.layers[name])
                for key, parameter in module.named_parameters(name):
                    check_holds(key, parameter)


def check_dtype(
    tensors: Mapping[str, Tensor], headers: Mapping[str, LayerHeader], dtype: torch.dtype
) -> None:
    """Reject a model dtype that cannot represent the tensors that `load_coded` returned.

    Raises:
        RadioError: in `dtype`, a value of a bfloat16 or float32 tensor, or of a layer with an
            exponent, would become infinite.
    """
    layers = _Mapped(tensors, headers)
    with _float32_on_cpu():
        for name, tensor in tensors.items():
            if tensor.dtype in (torch.bfloat16, torch.float32):
                check_holds(name, tensor.to(dtype))
        for name, header in headers.items():
            if header["fields"].get("exponent", 0) > 0:
                check_holds(f"{name}.weight", layers[name].weight.decode().to(dtype))


def check_holds(name: str, values: Tensor) -> None:
    """Reject values that became infinite in the model's dtype.

    Raises:
        RadioError: `values` are float16 and not finite: the quantized file has a larger range.
    """
    if values.dtype == torch.float16 and not is_finite(values):
        raise RadioError(
            f"dtype=float16 does not hold {name} of the quantized file, which has values above "
            "65504: give dtype=bfloat16 or dtype=float32"
        )
