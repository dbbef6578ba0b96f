"""GPTQ against llmcompressor 0.14.0.1, whose codes for two small layers are kept as a fixture.

The layers are the last of a tiny OPT's block, with two dead inputs, and of a tiny Llama's: 8 rows
and 144 inputs, with the moments that llmcompressor had gathered. docs/log.md (2026-11-26) says how
to make the file again. Grids there are always those of the original weights; scales are float16 by
`scale_dtype`, but zero points come from the scales before, so a few fall out the other way.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from radio.quantize.input_stats import InputStats
from radio.quantize.methods.base import LinearLayer
from radio.quantize.methods.gptq import Gptq
from radio.theory.affine_grid import Grid, decode
from tests.quantize.methods.problem import output_error

FIXTURE = load_file(Path(__file__).parents[2] / "fixtures" / "llmcompressor_gptq.safetensors")
SETTINGS = sorted({key.split(".")[1] for key in FIXTURE if key.endswith(".codes")})
DEAD = {"llama": [], "opt": [7, 100]}


def given(name: str) -> LinearLayer:
    """Weights, and the moments out of their upper triangle."""
    weight = FIXTURE[f"{name}.weight"]
    cols = weight.shape[1]
    upper = torch.zeros(cols, cols)
    upper[*torch.triu_indices(cols, cols)] = FIXTURE[f"{name}.second_moment"]
    second = upper + upper.triu(1).T
    return LinearLayer(name, weight, inputs=InputStats(second[0], second, 1, second[0]))


def method(setting: str) -> tuple[Gptq, int]:
    values = dict(word.split("=") for word in setting.split())
    group_cols = None if values["group_cols"] == "None" else int(values["group_cols"])
    flags = {key: values[key] == "True" for key in ("symmetric", "act_order")}
    return Gptq(group_cols, static_groups=True, **flags), int(values["bits"])


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_codes_and_errors_are_those_of_llmcompressor(name, setting):
    layer, (gptq, bits) = given(name), method(setting)
    codes, scale, zero = (FIXTURE[f"{name}.{setting}.{key}"] for key in ("codes", "scale", "zero"))
    found = gptq.quantize(layer, float(bits))
    weight = found.weight
    assert torch.equal(weight.scale, scale)
    differ = (torch.full_like(zero, 2 ** (bits - 1)) if gptq.symmetric else weight.zero) != zero
    assert differ.sum() <= 1

    alive = layer.inputs.second_moment.diagonal() > 0
    assert (~alive).nonzero().flatten().tolist() == DEAD[name]
    equal = (weight.codes == codes)[:, alive]
    # another zero point changes all that its row goes through afterwards
    assert equal[~differ.any(dim=1)].float().mean() >= 0.999

    cols = layer.weight.shape[1] // scale.shape[1]
    full = Grid(*(part.repeat_interleave(cols, dim=1).flatten() for part in (scale, zero)))
    theirs = decode(codes.reshape(-1, 1), full).view_as(layer.weight).double()
    error = theirs - layer.weight.double()
    wanted = float(((error @ layer.inputs.second_moment.double()) * error).sum())
    assert output_error(found, layer) <= 1.01 * wanted
