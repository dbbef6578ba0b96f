"""Replace the linear layers of a model by packed ones."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.hooks import add_hook_to_module
from torch import Tensor
from transformers import PreTrainedModel

from radio.kernels.checks import check
from radio.kernels.layout import packed_matrix
from radio.models import decoder_linears
from radio.pack.codecs import Companded
from radio.pack.header import SHARED, LayerHeader
from radio.pack.hf.linear import KernelLinear, PackedLinear, SharedTensors
from radio.runtime.errors import RadioError


def replace_linears(
    model: PreTrainedModel,
    tensors: Mapping[str, Tensor],
    headers: Mapping[str, LayerHeader],
    path: Path,
) -> None:
    """Replace every linear layer in the decoder blocks by a `PackedLinear`, in place.

    Names, dtypes and shapes in the model's state are then those of `tensors`; values are not set.

    Args:
        model: model on the meta device; its dtype is that of biases.
        tensors: tensors of the file.
        headers: headers of the coded layers.
        path: path of the file, for error messages.

    Raises:
        RadioError: the file belongs to another architecture, or `model` has no head.
    """
    if model.get_output_embeddings() is None:
        raise RadioError(
            f"{path} is a causal language model, and {type(model).__name__} is not: "
            "load it by AutoModelForCausalLM"
        )
    empty = {name: torch.empty_like(t, device="meta") for name, t in tensors.items()}
    common = {name.removeprefix(SHARED): t for name, t in empty.items() if name.startswith(SHARED)}
    shared = SharedTensors(common)
    for name, linear in decoder_linears(model).items():
        if name not in headers or headers[name]["shape"] != list(linear.weight.shape):
            raise RadioError(_does_not_fit(path, f"{name}.weight"))
        header = headers[name]
        own = {key: empty[f"{name}.{key}"] for key in header["tensors"]}
        bias = own.pop("bias", None)
        if bias is not None:
            bias = bias.to(model.dtype)
        layer = PackedLinear(header["codec"], header["fields"], own, bias, shared)
        model.set_submodule(name, layer)
    if common:
        model.add_module(SHARED.removesuffix("."), shared)
    _check_fit(model, tensors, path)


def lay_out(model: PreTrainedModel) -> None:
    """Replace every filled `PackedLinear` that the kernels support by a `KernelLinear`, in place.

    Codes are then held once, in the kernels' order. Layers share one table of levels. Layers
    offloaded to disk are not replaced; they decode their codes.

    Raises:
        RadioError: codes or side information are damaged.
    """
    levels = dict[torch.device, Tensor]()
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, PackedLinear)]
    for name, layer in layers:
        device = next(layer.buffers()).device
        if layer.codec != Companded.name or device.type == "meta":
            continue
        coded = layer.coded(torch.device("cpu"))
        assert isinstance(coded, Companded)
        if coded.exponent:  # kernels support float16 locations and scales only
            continue
        matrix = packed_matrix(coded)
        check(matrix)
        matrix = matrix.to(device)
        matrix = replace(matrix, levels=levels.setdefault(device, matrix.levels))
        kernel = KernelLinear(matrix, layer.bias)
        model.set_submodule(name, kernel)
        # accelerate's hook, which loads an offloaded bias for each product
        if (hook := getattr(layer, "_hf_hook", None)) is not None:
            add_hook_to_module(kernel, hook)


def _check_fit(model: PreTrainedModel, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Compare names and shapes with the file, which has one copy of tied weights."""
    tied = set(model.all_tied_weights_keys)
    wanted = {name: t.shape for name, t in model.state_dict().items() if name not in tied}
    there = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name, _ in wanted.items() ^ there.items())
    if wrong:
        raise RadioError(_does_not_fit(path, wrong[0]))


def _does_not_fit(path: Path, tensor: str) -> str:
    return (
        f"{path} does not fit config.json beside it (by {tensor}): "
        "restore the directory as `radio compress ... out=DIR` wrote it"
    )
