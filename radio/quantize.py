"""Apply a method to every linear layer of a decoder, all at once or block by block."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from radio.checkpoint import install_layer
from radio.depths import Depths
from radio.methods.base import BlockMethod, LinearLayer, Method
from radio.models import copy_in, decoder_blocks, decoder_linears, first_block_inputs
from radio.moments import InputMoments, input_moments
from radio.packing.codecs import QuantizedLinear
from radio.runtime.errors import RadioError
from radio.runtime.progress import progress
from radio.statistics import LayerStatistics
from radio.theory.codebook import Codebooks


@dataclass(frozen=True)
class Given:
    """What upstream steps made for a method, where its `needs` asks; otherwise empty.

    Attributes:
        statistics: by layer (`statistics`).
        depths: by layer (`allocation`).
        codebooks: levels of depths 0..8, the same for all layers (`codebook`).
        blocks: token ids of the calibration text (`inputs`).
        dtype: of activations, and of the weights they meet (`inputs`).
    """

    statistics: Mapping[str, LayerStatistics] = field(default_factory=dict)
    depths: Depths = field(default_factory=dict)
    codebooks: Codebooks | None = None
    blocks: Int[Tensor, "sequences length"] | None = None
    dtype: torch.dtype = torch.float32


NOTHING = Given()


def quantize_layers(
    model: PreTrainedModel, method: Method, rate_bits: float, given: Given = NOTHING
) -> dict[str, QuantizedLinear]:
    """Codes and side information of every linear layer inside the decoder blocks.

    Without a calibration text, layers are independent and `model` stays as it is. With one, the
    decoder is gone through block by block, so that a layer is told the moments of inputs that come
    from blocks already quantized; afterwards **`model` holds the quantized weights and biases**,
    and whatever else a `BlockMethod` has changed. That costs two forward passes of the text, the
    moments (tokens x cols^2 multiplications for each tensor that linear layers read), and the
    hidden states of the whole text in memory. A `BlockMethod` costs a third pass, with moments.

    Args:
        model: with the weights to be quantized, in evaluation mode.
        method: what turns a layer into codes.
        rate_bits: nominal bits a weight.
        given: what the method needs. Moments of inputs are float32, and weights are quantized from
            those of `model`, whatever the dtype of activations.

    Raises:
        RadioError: statistics or depths that were made for another model, or inputs that are not
            finite.
    """
    linears = decoder_linears(model)
    for what, by_layer in (
        ("statistics", given.statistics),
        ("allocation", given.depths),
    ):
        if by_layer and set(by_layer) != set(linears):
            raise RadioError(
                f"artifacts.{what} belongs to a model with other layers: make it for this model"
            )

    def quantized(name: str, inputs: InputMoments | None = None) -> QuantizedLinear:
        linear = linears[name]
        layer = LinearLayer(
            name=name,
            weight=linear.weight.detach().float(),
            bias=None if linear.bias is None else linear.bias.detach().float(),
            statistics=given.statistics.get(name),
            depths=given.depths.get(name),
            inputs=inputs,
            codebooks=given.codebooks,
        )
        return method.quantize(layer, rate_bits)

    if given.blocks is None:
        return {name: quantized(name) for name in progress(linears, "quantize")}
    done: dict[str, QuantizedLinear] = {}
    hidden, others = first_block_inputs(model, given.blocks, given.dtype)
    for prefix, block in progress(decoder_blocks(model).items(), "quantize blocks"):
        moments = _moments_within(copy_in(block, given.dtype), hidden, others)
        if isinstance(method, BlockMethod):
            method.reparametrize(block, moments, rate_bits)
            moments = _moments_within(copy_in(block, given.dtype), hidden, others)
        for name, inputs in moments.items():
            full = f"{prefix}.{name}"
            done[full] = quantized(full, inputs)
            install_layer(linears[full], done[full])
        _advance(copy_in(block, given.dtype), hidden, others)
    return done


@torch.no_grad()
def _moments_within(
    block: nn.Module, hidden: Tensor, others: Mapping[str, object]
) -> dict[str, InputMoments]:
    """Moments of the inputs of a block's linear layers, by their names in the block."""
    inside = {name: each for name, each in block.named_modules() if isinstance(each, nn.Linear)}
    return input_moments(inside, (block(states, **others) for states in hidden.split(1)))


@torch.no_grad()
def _advance(block: nn.Module, hidden: Tensor, others: Mapping[str, object]) -> None:
    """Overwrite each sequence's hidden states by what the block makes of them."""
    for states in hidden.split(1):
        states.copy_(block(states, **others))
