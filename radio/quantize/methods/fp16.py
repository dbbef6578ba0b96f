"""The uncompressed reference as a method: weights in float16."""

from dataclasses import dataclass

from radio.pack.codecs import Dense, QuantizedLinear
from radio.pack.floats import stored
from radio.quantize.methods.base import LinearLayer
from radio.runtime.errors import RadioError


@dataclass(frozen=True)
class Fp16:
    """Keep every weight in float16."""

    def check_rate(self, rate_bits: float) -> None:
        """Raise a `RadioError` unless `rate_bits` is 16."""
        if rate_bits != 16:
            raise RadioError(f"rate_bits={rate_bits} does not suit fp16: set rate_bits=16")

    def quantize(self, layer: LinearLayer, rate_bits: float) -> QuantizedLinear:
        """Round the weights to float16, as checkpoints store them."""
        bias = None if layer.bias is None else stored(layer.bias)
        return QuantizedLinear(Dense(stored(layer.weight)), bias)
