"""All that runs a model, on a GPU or spread over two, gives what it gives on the CPU.

On GPUs that are pretended (tests/pretend_gpus.py) bit for bit, and nothing computes with tensors of
two devices; on a real one within what another order of summation moves.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

import radio.calibrate.random_sign
from radio.calibrate.random_sign import RandomSign
from radio.calibrate.statistics import LayerStatistics, tensors_of
from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import compute_reference
from radio.models import (
    BlockwiseBackward,
    StreamedModel,
    decoder_linears,
    head,
    load_model,
    load_tokenizer,
    place,
)
from radio.pack.file import assemble, install, install_streamed, save_quantized
from radio.pack.streamed import Parts, quantize_to_file
from radio.paper_loop import Refinement
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.awq import Awq
from radio.quantize.methods.gptq import Gptq
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.compose import compose_step
from radio.runtime.device import CPU, Devices, devices
from radio.runtime.files import write_json
from radio.runtime.manifest import read_manifest
from radio.theory.codebook import uniform
from tests.manifests import manifest_of
from tests.pretend_gpus import pretend_gpus
from tests.tiny import state_in, tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (5, 16), generator=torch.Generator().manual_seed(3))
MODELS = {"llama": tiny_llama, "opt": tiny_opt}
SMALL = {"hidden_size": 16, "num_attention_heads": 2}
NARROW = {
    "llama": {"intermediate_size": 32, "num_key_value_heads": 1},
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 16},
}
METHODS = {
    "rtn": Rtn(8),
    "gptq": Gptq(8, act_order=True, static_groups=True),
    "owq": Owq(extra_bits=1.0),
    "awq": Awq(8, exponents=3, ranges=2),
    "radio": Radio(),
    "feedback": Radio(levels="learned", error_compensation=True),
}

BOOKS = tuple(uniform(bits).levels for bits in range(9))


@pytest.fixture(params=MODELS, scope="module")
def checkpoint(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model"
    return MODELS[request.param](path, **SMALL, **NARROW[request.param])


def calibrated(checkpoint, on: Devices, dtype="float32", output="kl") -> dict[str, Tensor]:
    estimator = RandomSign(8, len(IDS), 2, dtype, output)
    found = estimator.run(load_model(checkpoint), IDS, 0, state_in(checkpoint.parent), on)
    return tensors_of(found)


def calibrated_streaming(checkpoint, on: Devices) -> dict[str, Tensor]:
    estimator = RandomSign(8, len(IDS), 2, "bfloat16", "kl")
    model = BlockwiseBackward(StreamedModel(checkpoint, torch.bfloat16, on[0]), 2)
    return tensors_of(estimator.run(model, IDS, 0, state_in(checkpoint.parent)))


def refined(checkpoint, on: Devices) -> dict[str, Tensor]:
    loop = Refinement(
        group_rows=16,
        sequences=2,
        batch=1,
        iterations=2,
        gradients="pca",
        tokens=3,
        pca_width=8,
        decay=0.9,
        follow_author_code=False,
        validate_every=2,
        dtype="float32",
        solver="ascent",
        draft=Radio(scale_fit="moments"),
        final=Radio(scale_fit="range"),
    )
    state = state_in(checkpoint.parent)
    found = loop.run(load_model(checkpoint), IDS[:2], IDS[2:], 3.0, 0, state, on)
    last = found.trace[-1]
    return tensors_of(found.statistics) | {"trace": torch.tensor([last["kl"], last["perplexity"]])}


def evaluated(checkpoint, on: Devices, dtype=torch.float32) -> dict[str, Tensor]:
    """Of a model whose weights are rounded, from the reference of one whose are not."""
    original = place(load_model(checkpoint, dtype), on)
    reference = compute_reference(original, IDS, "text")
    rounded = load_model(checkpoint)
    coded = assemble(rounded, quantize_layers(rounded, Rtn(8), 3.0, device=on[0]))
    model, reference_head = load_model(checkpoint, dtype), head(load_model(checkpoint, dtype))
    found = evaluate(place(install(model, coded), on), IDS, reference, reference_head)
    return vars(reference) | vars(found)


def evaluated_streaming(checkpoint, on: Devices) -> dict[str, Tensor]:
    reference = compute_reference(StreamedModel(checkpoint, torch.float32, on[0]), IDS, "text")
    rounded, model = load_model(checkpoint), StreamedModel(checkpoint, torch.float32, on[0])
    install_streamed(model, assemble(rounded, quantize_layers(rounded, Rtn(8), 3.0)))
    found = evaluate(model, IDS, reference, head(load_model(checkpoint)))
    return vars(reference) | vars(found)


def groups(checkpoint) -> tuple[dict[str, Tensor], dict[str, LayerStatistics]]:
    """Weights, and two clusters of rows for each."""
    linears = decoder_linears(load_model(checkpoint))
    weights = {name: linear.weight.detach() for name, linear in linears.items()}
    drawn = {
        name: LayerStatistics(
            torch.arange(len(w)) % 2, torch.ones(2, w.shape[1]), torch.ones(2, w.shape[1]), w[0]
        )
        for name, w in weights.items()
    }
    return weights, drawn


JOBS = {
    "calibrate": calibrated,
    "calibrate hidden": lambda *given: calibrated(*given, output="hidden"),
    "calibrate float16": lambda *given: calibrated(*given, dtype="float16"),
    "calibrate streaming": calibrated_streaming,
    "evaluate streaming": evaluated_streaming,
    "refine": refined,
    "evaluate": evaluated,
    "evaluate bfloat16": lambda *given: evaluated(*given, dtype=torch.bfloat16),
}


def same(found: dict[str, object], wanted: dict[str, object], gpus) -> bool:
    """Whether all tensors are the same, and on the CPU."""
    pairs = [(found[name], each) for name, each in wanted.items() if isinstance(each, Tensor)]
    return bool(pairs) and all(gpus.of(a) == CPU and torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("setting, count", [("cuda", 1), ("spread", 2)])
@pytest.mark.parametrize("name", JOBS)
def test_as_on_the_cpu_bit_for_bit(checkpoint, name, setting, count):
    wanted = JOBS[name](checkpoint, devices("cpu"))
    with pretend_gpus(count) as gpus:
        found = JOBS[name](checkpoint, devices(setting))
        assert same(found, wanted, gpus)
    streams = name.endswith("streaming")  # on one at a time
    assert len(gpus.used) == (1 if streams else count)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_the_same_file(checkpoint, tmp_path, name):
    streaming = name in ("rtn", "awq", "feedback")
    method, needs_inputs = METHODS[name], name not in ("rtn", "radio")
    weights, statistics = groups(checkpoint)
    draw = torch.Generator().manual_seed(0)
    given = MethodInputs(
        statistics,
        {
            n: torch.randint(0, 6, (2, w.shape[1]), generator=draw).byte()
            for n, w in weights.items()
        },
        BOOKS,
        IDS[:2] if needs_inputs else None,
        torch.bfloat16 if name == "gptq" else torch.float32,
    )

    def coded(out: Path, device: torch.device) -> bytes:
        if streaming:
            model = StreamedModel(checkpoint, torch.float32)
            parts = Parts(out.with_suffix(".parts"), "key")
            quantize_to_file(model, method, 3.0, given, out, parts, device)
        else:
            model = load_model(checkpoint)
            layers = quantize_layers(model, method, 3.0, given, device)
            save_quantized(out, assemble(model, layers))
        return out.read_bytes()

    wanted = coded(tmp_path / "cpu", CPU)
    with pretend_gpus() as gpus:
        assert coded(tmp_path / "gpu", devices("auto")[0]) == wanted
    assert gpus.used == {torch.device("cuda", 0)}


def made(folder: Path, checkpoint: Path) -> dict[str, object]:
    """Bytes of what steps make, and measurements of the last of them."""
    write_json(folder / "model.json", {"wall_s": 0.0, "measured": {"path": str(checkpoint)}})
    splits = {name: hashed_blocks(IDS, name, []) for name in ("calibration", "validation", "test")}
    save_token_splits(folder / "tokens.safetensors", splits)
    manifest_of(folder / "tokens.safetensors", "tokenize")
    artifacts = {"model": folder / "model.json", "tokens": folder / "tokens.safetensors"}
    small = "calibration.estimator.sequences=3 calibration.estimator.pilot_sequences=1"
    for step, name, words in (
        ("calibrate", "statistics", f"{small} model.group_rows=8"),
        ("codebook", "codebook", ""),
        ("distortion", "distortion", "method.quantizer.levels=learned"),
        ("target", "target", "target.kl=0.01 tolerance=0.5 validation_blocks=2 dtype=bfloat16"),
        ("quantize", "quantized", "method=rtn rate_bits=3"),
        ("reference", "reference", "dtype=bfloat16"),
        ("evaluate", "evaluation", "dtype=bfloat16"),
    ):
        out = folder / f"{name}.{'csv' if step == 'evaluate' else 'safetensors'}"
        out = out.with_suffix(".json") if step == "target" else out
        keys = list(compose_step(step).artifacts)
        given = [f"artifacts.{key}={path}" for key, path in artifacts.items() if key in keys]
        assert main([step, f"out={out}", *given, *words.split()]) == 0
        artifacts[name] = out
    files = {name: path.read_bytes() for name, path in artifacts.items() if path.suffix != ".json"}
    return files | {"target": read_manifest(artifacts["target"])["measured"]}


def test_steps_take_the_device_that_is_set(tmp_path, monkeypatch):
    """Codebooks and distortions too, which have no other test on a GPU."""
    small = {"num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2}
    checkpoint = tiny_llama(tmp_path / "model", intermediate_size=8, **small)
    monkeypatch.setenv("RADIO_DEVICE", "cpu")
    wanted = made(tmp_path / "cpu", checkpoint)
    monkeypatch.setenv("RADIO_DEVICE", "spread")
    with pretend_gpus(2) as gpus:
        assert made(tmp_path / "gpus", checkpoint) == wanted
    assert len(gpus.used) == 2


def test_downstream_tasks(checkpoint):
    """lm-eval takes its inputs to where the model begins."""
    from radio.evaluate.downstream.harness import wrapped

    tokenizer, text = load_tokenizer(checkpoint), [("the quick brown", " fox"), ("the", " lazy")]
    tokens = [(words, *(tokenizer.encode(each) for each in words)) for words in text]
    wanted = wrapped(load_model(checkpoint), tokenizer, 2)._loglikelihood_tokens(tokens)
    with pretend_gpus(2) as gpus:
        model = place(load_model(checkpoint), devices("spread"))
        assert wrapped(model, tokenizer, 2)._loglikelihood_tokens(tokens) == wanted
    assert len(gpus.used) == 2


def test_a_half_made_state_goes_on_elsewhere(checkpoint, tmp_path, monkeypatch):
    """From a GPU to the CPU, in the middle of the sums by group."""
    monkeypatch.setattr(radio.calibrate.random_sign, "SAVE_EVERY_S", 0.0)
    estimator, step = (
        RandomSign(8, len(IDS), 2, "float32", "kl"),
        radio.calibrate.random_sign._Whole.add,
    )
    state = state_in(tmp_path)
    given = IDS, 0, state
    wanted = tensors_of(estimator.run(load_model(checkpoint), IDS, 0, state))
    state.remove()
    done = []

    def stopped(self, sums, *rest):
        if len(done) == 4:
            raise KeyboardInterrupt
        done.append(sums.done)
        step(self, sums, *rest)

    monkeypatch.setattr(radio.calibrate.random_sign._Whole, "add", stopped)
    with pretend_gpus(), pytest.raises(KeyboardInterrupt):
        estimator.run(load_model(checkpoint), *given, devices("cuda"))
    kept = state.load()
    assert kept is not None and kept[1]["done"] == 4
    done.pop()
    found = tensors_of(estimator.run(load_model(checkpoint), *given))
    assert done == [0, 1, 2, 4]
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_what_is_pretended_refuses_what_a_gpu_refuses():
    with pretend_gpus(2), torch.device("cuda", 0):
        here, other = torch.ones(3), torch.ones(3, device="cuda:1")
        assert here.device == torch.device("cuda", 0) and here.cpu().numpy().sum() == 3
        assert (here * torch.tensor(2.0, device="cpu")).device == here.device
        for refused in (
            lambda: here + other,
            lambda: torch.stack([here, here.cpu()]),
            lambda: here[torch.tensor([0], device="cpu")],
            lambda: here.numpy(),
            lambda: torch.rand(3, generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match="cuda:0"):
                refused()


@pytest.mark.gpu
@pytest.mark.parametrize("setting", ["cuda", "spread"])
@pytest.mark.parametrize("name", ["calibrate", "calibrate hidden", "evaluate"])
def test_on_a_gpu(checkpoint, name, setting):
    """Sums of some hundred float32 terms in another order; a ten thousandth is well above that."""
    wanted = JOBS[name](checkpoint, devices("cpu"))
    found = JOBS[name](checkpoint, devices(setting))
    for key in ("hidden", "nll", "kl", *(each for each in wanted if each.endswith("_var"))):
        if key in wanted:
            error = (found[key].double() - wanted[key].double()).norm() / wanted[key].norm()
            assert found[key].device == CPU and float(error) < 1e-4, key


@pytest.mark.gpu
@pytest.mark.parametrize("name", METHODS)
def test_quantized_on_a_gpu(checkpoint, name):
    """But for ties and what error feedback makes of them, the same weights."""
    weights, statistics = groups(checkpoint)
    depths = {n: torch.full((2, w.shape[1]), 4, dtype=torch.uint8) for n, w in weights.items()}
    blocks = None if name in ("rtn", "radio") else IDS
    given = MethodInputs(statistics, depths, BOOKS, blocks)
    cpu, gpu = (
        quantize_layers(load_model(checkpoint), METHODS[name], 4.0, given, devices(each)[0])
        for each in ("cpu", "cuda")
    )
    for layer, wanted in cpu.items():
        decoded = wanted.weight.decode()
        error = (gpu[layer].weight.decode() - decoded).norm() / decoded.norm()
        assert float(error) < (1e-3 if blocks is None else 0.1), layer
