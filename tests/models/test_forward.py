"""A text through a model on disk: the bytes of a model in memory, quantized or not."""

import pytest
import torch

from radio.calibrate.random_sign import RandomSign
from radio.models import StreamedModel, final_states, head_of, load_model
from radio.pack.file import (
    assemble,
    install,
    install_streamed,
    load_quantized,
    map_quantized,
    save_quantized,
)
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.errors import RadioError
from tests.tiny import SHAPES, state_in, tiny_llama

IDS = torch.randint(2, 300, (3, 24), generator=torch.Generator().manual_seed(5))
DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(params=SHAPES, scope="module")
def checkpoint(request, tmp_path_factory):
    make, overrides = SHAPES[request.param]
    return make(tmp_path_factory.mktemp("tiny") / "model", **overrides)


@pytest.fixture(scope="module")
def coded(checkpoint):
    """A file of it with biases added, groups of mixed depths and shared tables."""
    model, path = load_model(checkpoint), checkpoint.parent / "coded"
    estimator = RandomSign(8, 3, 1, "float32", "hidden")
    statistics = estimator.run(model, IDS, 0, state_in(checkpoint.parent))
    draw = torch.Generator().manual_seed(0)
    depths = {
        name: torch.randint(0, 6, entry.grad_var.shape, generator=draw).to(torch.uint8)
        for name, entry in statistics.items()
    }
    layers = quantize_layers(load_model(checkpoint), Radio(), 3.0, MethodInputs(statistics, depths))
    save_quantized(path, assemble(load_model(checkpoint), layers))
    return path


def outputs(model) -> list[torch.Tensor]:
    with torch.no_grad():
        return [
            tensor
            for states in final_states(model, IDS, "test")
            for tensor in (states, head_of(model)(states))
        ]


def assert_same(found, wanted) -> None:
    assert len(found) == len(wanted) == 2 * len(IDS)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bytes_as_in_memory(checkpoint, dtype):
    assert_same(outputs(StreamedModel(checkpoint, dtype)), outputs(load_model(checkpoint, dtype)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bytes_of_a_quantized_model(checkpoint, coded, dtype):
    streamed = StreamedModel(checkpoint, dtype)
    install_streamed(streamed, map_quantized(coded))
    whole = load_model(checkpoint, dtype)
    original = outputs(whole)
    wanted = outputs(install(whole, load_quantized(coded)))
    assert_same(outputs(streamed), wanted)
    assert not torch.equal(original[-1], wanted[-1])


def test_a_file_of_another_model_is_refused_before_the_first_block(checkpoint, tmp_path):
    other = tiny_llama(tmp_path / "other", num_hidden_layers=1)
    model = load_model(other)
    save_quantized(
        tmp_path / "q", assemble(model, quantize_layers(model, Rtn(16), 3.0, MethodInputs()))
    )
    with pytest.raises(RadioError, match="does not fit model"):
        install_streamed(StreamedModel(checkpoint, torch.float32), map_quantized(tmp_path / "q"))
