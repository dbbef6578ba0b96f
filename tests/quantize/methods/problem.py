"""A layer with correlated inputs, and what it costs to quantize it."""

import torch

from radio.pack.codecs import QuantizedLinear
from radio.quantize.input_stats import InputStats
from radio.quantize.methods.base import LinearLayer


def moments(inputs: torch.Tensor) -> InputStats:
    """Of inputs [tokens, cols]."""
    tokens = len(inputs)
    return InputStats(
        inputs.mean(dim=0), inputs.T @ inputs / tokens, tokens, inputs.abs().mean(dim=0)
    )


def layer(rows: int, cols: int, seed: int = 0) -> LinearLayer:
    """Weights with heavy tails; inputs correlated, not centred, a few of them large."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(rows, cols, generator=generator)
    weight *= torch.exp(torch.randn(rows, cols, generator=generator) / 2)
    mixing = torch.randn(cols, cols, generator=generator)
    inputs = torch.randn(4 * cols, cols, generator=generator) @ mixing / cols**0.5 + 0.1
    inputs *= torch.exp(torch.randn(cols, generator=generator))
    return LinearLayer("w", weight, inputs=moments(inputs))


def output_error(quantized: QuantizedLinear, of: LinearLayer) -> float:
    """tr(dW H dW^T), float64."""
    error = quantized.weight.decode().double() - of.weight.double()
    return float(((error @ of.inputs.second_moment.double()) * error).sum())
