"""Application of a method to every linear layer of a decoder, block by block."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.allocate.depths import Depths
from radio.calibrate.statistics import LayerStatistics
from radio.models import copy_as, decoder_blocks, decoder_linears, first_block_inputs
from radio.pack.codecs import QuantizedLinear
from radio.pack.codecs.linear import install_layer
from radio.quantize.input_stats import InputStats, collect_input_stats
from radio.quantize.methods.base import BlockMethod, LinearLayer, Method
from radio.runtime.device import CPU, default_device, to_device
from radio.runtime.errors import RadioError
from radio.runtime.progress import progress
from radio.theory.codebook import Codebooks


@dataclass(frozen=True)
class MethodInputs:
    """Inputs of a method from upstream steps; those not in the method's `needs` are empty.

    Attributes:
        statistics: calibration statistics by layer (`statistics`).
        depths: bit depths by layer (`allocation`).
        codebooks: levels of depths 0..8, the same for all layers (`codebook`).
        blocks: token ids of the calibration text (`inputs`).
        dtype: dtype of activations, and of weights in forward passes (`inputs`).
    """

    statistics: Mapping[str, LayerStatistics] = field(default_factory=dict)
    depths: Depths = field(default_factory=dict)
    codebooks: Codebooks | None = None
    blocks: Int[Tensor, "sequences length"] | None = None
    dtype: torch.dtype = torch.float32


NO_INPUTS = MethodInputs()


def quantize_layers(
    model: PreTrainedModel,
    method: Method,
    rate_bits: float,
    given: MethodInputs = NO_INPUTS,
    device: torch.device = CPU,
) -> dict[str, QuantizedLinear]:
    """Return codes and side information of every linear layer inside the decoder blocks.

    Without a calibration text, layers are independent and `model` does not change. With one, blocks
    are processed in order, so that the input moments of a layer come from blocks already quantized;
    afterwards **`model` holds the quantized weights and biases**, and all other changes of a
    `BlockMethod`. This costs two forward passes of the text, the moments (tokens x cols^2
    multiplications for each tensor that linear layers read), and memory for the hidden states of
    the whole text. A `BlockMethod` costs a third pass, with moments.

    Args:
        model: the original model, in evaluation mode, on the CPU.
        method: method that encodes each layer.
        rate_bits: nominal bits per weight.
        given: inputs of the method. For any dtype of activations, moments are float32 and the
            weights of `model` are quantized.
        device: device of each block while it is processed.

    Raises:
        RadioError: statistics or depths belong to another model, or inputs are not finite.
    """
    check_layers(given, decoder_linears(model))
    blocks = decoder_blocks(model)
    states = None if given.blocks is None else BlockStates.before_all(model, given)
    done: dict[str, QuantizedLinear] = {}
    for each in quantize_blocks(
        progress(blocks.items(), "quantize blocks"), method, rate_bits, given, states, device
    ):
        done |= each.layers
    return done


def check_layers(given: MethodInputs, linears: Mapping[str, nn.Linear]) -> None:
    """Raise a `RadioError` if statistics or depths belong to a model with other layers."""
    for what, by_layer in (
        ("statistics", given.statistics),
        ("allocation", given.depths),
    ):
        if by_layer and set(by_layer) != set(linears):
            raise RadioError(
                f"artifacts.{what} belongs to a model with other layers: make it for this model"
            )


@dataclass
class BlockStates:
    """Inputs of a block: each sequence's hidden states, and the arguments that all blocks share."""

    hidden: Float[Tensor, "sequences length width"]
    others: Mapping[str, Any]

    @classmethod
    def before_all(cls, model: PreTrainedModel, given: MethodInputs) -> "BlockStates":
        """Return the inputs of the first block."""
        assert given.blocks is not None
        return cls(*first_block_inputs(model, given.blocks, given.dtype))


@dataclass(frozen=True)
class QuantizedBlock:
    """A block after quantization, and its coded layers by their full names."""

    name: str
    block: nn.Module
    layers: dict[str, QuantizedLinear]


def quantize_blocks(
    blocks: Iterable[tuple[str, nn.Module]],
    method: Method,
    rate_bits: float,
    given: MethodInputs,
    states: BlockStates | None,
    device: torch.device = CPU,
) -> Iterator[QuantizedBlock]:
    """Quantize the layers of each block in turn, and yield each quantized block.

    With `states`, each block is overwritten as described in `quantize_layers`, and `states` advance
    to the inputs of the next block. Without, blocks do not change.

    Args:
        blocks: decoder blocks by their full names, in order of execution; float32.
        method: method that encodes each layer.
        rate_bits: nominal bits per weight.
        given: inputs of the method.
        states: inputs of the first of `blocks` on the calibration text.
        device: device of each block while it is processed; blocks start and end on the CPU.
    """
    others = {} if states is None else to_device(states.others, device)

    def moments_within(block: nn.Module) -> dict[str, InputStats]:
        if states is None:
            return {}
        return _moments_within(copy_as(block, given.dtype), states.hidden, others, device)

    for prefix, block in blocks:
        block.to(device)
        moments = moments_within(block)
        if states is not None and isinstance(method, BlockMethod):
            with default_device(device):
                method.reparametrize(block, moments, rate_bits)
            moments = moments_within(block)
        done = {}
        for name, linear in _linears(block).items():
            full = f"{prefix}.{name}"
            layer = LinearLayer(
                name=full,
                weight=linear.weight.detach().float(),
                bias=None if linear.bias is None else linear.bias.detach().float(),
                statistics=given.statistics.get(full),
                depths=given.depths.get(full),
                inputs=moments.get(name),
                codebooks=given.codebooks,
            )
            with default_device(device):
                coded = method.quantize(to_device(layer, device), rate_bits)
                if states is not None:
                    install_layer(linear, coded)
            done[full] = to_device(coded, CPU)
        if states is not None:
            _advance(copy_as(block, given.dtype), states.hidden, others, device)
        yield QuantizedBlock(prefix, block.to(CPU), done)


def _linears(block: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of a block by their names in it, in order of execution."""
    return {name: each for name, each in block.named_modules() if isinstance(each, nn.Linear)}


@torch.no_grad()
def _moments_within(
    block: nn.Module, hidden: Tensor, others: Mapping[str, object], device: torch.device
) -> dict[str, InputStats]:
    """Return the input moments of a block's linear layers, by their names in the block."""
    passes = (block(states.to(device), **others) for states in hidden.split(1))
    return collect_input_stats(_linears(block), passes)


@torch.no_grad()
def _advance(
    block: nn.Module, hidden: Tensor, others: Mapping[str, object], device: torch.device
) -> None:
    """Overwrite each sequence's hidden states with the block's output."""
    for states in hidden.split(1):
        states.copy_(block(states.to(device), **others))
