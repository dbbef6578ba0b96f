"""Packed models where their tensors come and go: offloading, casts, copies, loaded states."""

import copy
import io
from collections.abc import Callable
from pathlib import Path
from weakref import ref

import accelerate
import pytest
import torch
from transformers import AutoModelForCausalLM

from radio.kernels import reference
from radio.kernels.layout import packed_matrix
from radio.models import load_model
from radio.pack.hf.linear import KernelLinear, PackedLinear
from radio.runtime.errors import RadioError
from tests.kernels.coded import coded
from tests.pack.hf.conftest import Made, pack
from tests.pack.test_file import quantized_by
from tests.tiny import tiny_llama

ROWS, COLS = 37, 70
IDS = torch.arange(5, 29)[None]
# side information of rtn is decoded; radio's layers have kernels, and may share a codebook
METHODS = ["rtn", "radio", "radio-learned"]
ON_DISK = {
    "model.embed_tokens": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "cpu",
    "model.rotary_emb": "cpu",
    "lm_head": "cpu",
    "shared_by_layers": "disk",
}


def layer(seed: int = 0, bias: bool = True) -> KernelLinear:
    parameter = torch.nn.Parameter(torch.ones(ROWS), requires_grad=False) if bias else None
    return KernelLinear(packed_matrix(coded(ROWS, COLS, 1, seed, depths=(3,))), parameter)


def expected(inputs: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return reference.product(coded(ROWS, COLS, 1, seed, depths=(3,)), inputs, torch.ones(ROWS))


def assert_right(module: torch.nn.Module, seed: int = 0, tolerance: float = 1e-6) -> None:
    inputs = torch.randn(2, COLS)
    outputs = module(inputs.to(module.bias.dtype))
    wanted = expected(inputs, seed)
    assert outputs.dtype == module.bias.dtype
    assert float((outputs.double() - wanted).norm() / wanted.norm()) < tolerance


def pickled(module: torch.nn.Module) -> torch.nn.Module:
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def loaded_state(module: torch.nn.Module) -> torch.nn.Module:
    other = layer(seed=1)
    other(torch.randn(1, COLS))
    other.load_state_dict(module.state_dict())
    return other


def through_meta(module: torch.nn.Module) -> torch.nn.Module:
    state = module.state_dict()
    module.to("meta")
    module.load_state_dict(state, assign=True)
    return module


@pytest.mark.parametrize("change", [copy.deepcopy, pickled, loaded_state, through_meta])
def test_a_layer_survives(change):
    module = layer()
    assert_right(module)
    assert_right(change(module))


@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 1.6e-2)],
)
def test_casts_leave_codes_and_side_information(dtype, tolerance):
    module = layer()
    before = {name: tensor.dtype for name, tensor in module.named_buffers()}
    cast = copy.deepcopy(module).to(dtype)
    assert {name: tensor.dtype for name, tensor in cast.named_buffers()} == before
    assert cast.bias.dtype == dtype
    assert_right(cast, tolerance=tolerance)
    assert_right(cast.float())


def test_a_layer_reads_the_buffers_that_it_has_now():
    module = layer()
    assert_right(module)
    for name, tensor in layer(seed=1).named_buffers():
        module._buffers[name] = tensor  # as accelerate sets them
    assert_right(module, seed=1)
    state = layer(seed=2).state_dict()
    module.load_state_dict(state)
    assert_right(module, seed=2)
    module.load_state_dict(state | {"columns": state["columns"] + 1})
    with pytest.raises(RadioError, match="columns of a cluster must be a permutation"):
        module(torch.randn(1, COLS))


def test_offloaded_codes_leave_memory():
    module = layer()
    hook = accelerate.hooks.AlignDevicesHook(
        "cpu", offload=True, offload_buffers=True, weights_map=Copies(module.state_dict())
    )
    accelerate.hooks.add_hook_to_module(module, hook)
    kept: list[ref[torch.Tensor]] = []
    module.matrix = lambda made=module.matrix: seen(made(), kept)
    assert torch.equal(module(torch.ones(1, COLS)), module(torch.ones(1, COLS)))
    assert kept and all(tensor() is None for tensor in kept)
    assert all(tensor.is_meta for tensor in module.buffers())


class Copies(dict):
    """Tensors that are read anew each time, as from disk."""

    def __getitem__(self, name):
        return super().__getitem__(name).clone()


def seen(matrix, kept):
    kept += [ref(tensor) for tensor in matrix.tensors()]
    return matrix


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    done: dict[str, Made] = {}

    def made(method: str) -> Made:
        if method not in done:
            folder = tmp_path_factory.mktemp(method)
            checkpoint = tiny_llama(folder / "checkpoint", tie_word_embeddings=False)
            done[method] = pack(folder, checkpoint, quantized_by(load_model(checkpoint), method))
        return done[method]

    return made


def load(path: Path, **settings: object) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, **settings).eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    return model(input_ids=IDS).logits


def assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Kernels sum in another order than decoded weights."""
    assert float((found - wanted).norm() / wanted.norm()) < 1e-6


@pytest.mark.parametrize("offload_buffers", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_block_on_disk(make, method, offload_buffers, tmp_path):
    path = make(method).packed
    places = {k: v for k, v in ON_DISK.items() if k != "shared_by_layers" or "learned" in method}
    settings = {"device_map": places, "offload_buffers": offload_buffers}
    model = load(path, offload_folder=tmp_path, **settings)
    for _ in range(2):
        assert_same(logits(model), logits(load(path)))


@pytest.mark.parametrize("method", METHODS)
def test_a_device_map_for_little_memory(make, method, tmp_path):
    path = make(method).packed
    settings = {"device_map": "auto", "max_memory": {"cpu": "60KB"}}
    model = load(path, offload_folder=tmp_path, **settings)
    assert "disk" in model.hf_device_map.values()
    assert_same(logits(model), logits(load(path)))


@pytest.mark.parametrize("offload", ["cpu", "disk"])
@pytest.mark.parametrize("method", METHODS[1:])
def test_a_loaded_model_is_offloaded(make, method, offload, tmp_path):
    path = make(method).packed
    model = load(path)
    wanted = logits(model)
    if offload == "cpu":
        accelerate.cpu_offload(model, torch.device("cpu"), offload_buffers=True)
    else:
        accelerate.disk_offload(model, tmp_path, torch.device("cpu"), offload_buffers=True)
    packed = [m for m in model.modules() if isinstance(m, KernelLinear | PackedLinear)]
    assert all(tensor.is_meta for module in packed for tensor in module.buffers())
    for _ in range(2):
        assert torch.equal(logits(model), wanted)


@pytest.mark.parametrize("method", METHODS)
def test_double_is_double(make, method):
    made = make(method)
    found = logits(load(made.packed).double())
    wanted = logits(made.installed(torch.float64))
    assert found.dtype == torch.float64
    # weights are float32: a coded level is rounded once or twice
    assert float((found - wanted).norm() / wanted.norm()) < 1e-7


def test_float64_is_summed_in_float64():
    module = layer().double()
    inputs = torch.randn(3, COLS, dtype=torch.float64)
    wanted = inputs @ module.matrix().decode().double().T + module.bias
    torch.testing.assert_close(module(inputs), wanted, rtol=1e-13, atol=1e-13)
