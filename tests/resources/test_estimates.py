"""Plans: published sizes, all models of the paper offline, arithmetic against measurement."""

import re

import pytest
import torch
from omegaconf import DictConfig
from torch.utils.flop_counter import FlopCounterMode

from radio.calibrate.random_sign import RandomSign
from radio.calibrate.statistics import save_statistics
from radio.cli import main
from radio.commands.plan_check import ratios
from radio.models import BlockwiseBackward, ModelSpec, StreamedModel, load_model
from radio.models.load import count_parameters
from radio.pack.file import assemble, save_quantized
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.awq import Awq
from radio.quantize.methods.fp16 import Fp16
from radio.quantize.methods.owq import Owq
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.rate import target
from radio.report.scaling import load_scaling_table
from radio.report.table import save_table
from radio.resources.file_size import checkpoint_bytes, statistics_bytes, stored
from radio.resources.flops import calibration_flops
from radio.resources.job_estimate import PASSES, read_device, readings
from radio.resources.model_shape import Geometry
from radio.runtime.compose import CONFIG, compose_step, options
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors
from tests.tiny import state_in, tiny_llama, tiny_opt

# parameters as the model cards and the checkpoints have them, tied ones once
PUBLISHED = {
    "opt-125m": 125_239_296,
    "opt-350m": 331_196_416,
    "opt-1.3b": 1_315_758_080,
    "opt-2.7b": 2_651_596_800,
    "opt-6.7b": 6_658_473_984,
    "opt-13b": 12_853_473_280,
    "opt-30b": 29_974_540_288,
    "llama2-7b": 6_738_415_616,
    "llama2-13b": 13_015_864_320,
    "llama2-70b": 68_976_648_192,
    "smollm2-135m": 134_515_008,
}
IDS = torch.randint(2, 300, (3, 64), generator=torch.Generator().manual_seed(5))
GROUP_ROWS = 16
MODELS = {
    "llama": (tiny_llama, {"num_hidden_layers": 3, "tie_word_embeddings": False}),
    "opt-350m": (tiny_opt, {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
}


@pytest.fixture(params=MODELS, scope="module")
def checkpoint(request, tmp_path_factory):
    make, overrides = MODELS[request.param]
    return make(tmp_path_factory.mktemp("tiny") / "model", **overrides)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_number(name):
    spec = ModelSpec.from_config(compose_step("prepare", [f"model={name}", "out=x"]).model)
    geometry = Geometry.of_architecture(spec.family, spec.architecture)
    assert geometry.parameters == PUBLISHED[name]


def test_every_model_of_the_paper_has_a_plan_offline(capsys):
    papers = [name for name in options("model") if name.startswith(("opt-", "llama2-"))]
    assert len(papers) == 12  # eleven, and opt-nano
    for name in papers:
        assert main(["plan", f"model={name}", "method=radio", "target.bpw=3"]) == 0
        told = capsys.readouterr().out
        assert "3.000 bpw" in told and "time, calibration" in told, name


def test_the_memory_of_a_gpu_is_planned_and_the_largest_model_streams_through_it(capsys):
    for name, streams in (("opt-6.7b", False), ("llama2-70b", True)):
        assert main(["plan", f"model={name}", "method=gptq", "rate_bits=3", "device=h100"]) == 0
        assert "memory of the GPU, quantization" in capsys.readouterr().out
        assert main(["plan", f"model={name}", "method=radio", "rate_bits=3", "device=h100"]) == 0
        told = dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines())
        whole = told["memory of the GPU, calibration"]
        assert whole.endswith("of 80: it streams") == streams
        streaming = told["memory of the GPU, calibration, streaming"]
        assert float(streaming.split()[0]) < min(10, float(whole.split()[0]))


def test_the_geometry_of_a_checkpoint(checkpoint):
    geometry, model = Geometry.of_checkpoint(checkpoint), load_model(checkpoint)
    assert geometry.parameters == count_parameters(checkpoint)
    assert geometry.blocks == model.config.num_hidden_layers
    assert geometry.has_biases == (model.config.model_type == "opt")
    files = load_tensors_bytes(checkpoint / "model.safetensors")
    assert checkpoint_bytes(geometry) == files


def load_tensors_bytes(path) -> int:
    from safetensors.torch import load_file

    return sum(tensor.nbytes for tensor in load_file(path).values())


@pytest.mark.parametrize("output", ["kl", "hidden"])
def test_operations_are_those_that_torch_counts(checkpoint, tmp_path, output):
    estimator = RandomSign(GROUP_ROWS, 3, 1, "float32", output)
    for recomputed in (False, True):
        model = load_model(checkpoint)
        whole = model
        if recomputed:
            model = BlockwiseBackward(StreamedModel(checkpoint, torch.float32), 2)
            whole = model.streamed.model
        whole.set_attn_implementation("eager")  # torch counts no operations of the fused one
        with FlopCounterMode(display=False) as counter:
            estimator.run(model, IDS, 0, state_in(tmp_path))
        geometry = Geometry.of_checkpoint(checkpoint)
        planned = calibration_flops(
            geometry, *IDS.shape, distortion_measure=output, recomputed=recomputed
        )
        # of two blocks, the first needs no gradient of its inputs; fused attention recomputes
        assert 0.8 < planned / counter.get_total_flops() < 1.25


METHODS = {"rtn": Rtn(24), "awq": Awq(32, ranges=1, exponents=1), "owq": Owq(), "fp16": Fp16()}


@pytest.mark.parametrize("name", METHODS)
def test_bytes_of_methods_of_one_depth(checkpoint, tmp_path, name):
    method, bits = METHODS[name], 16.0 if name == "fp16" else 3.0
    given = MethodInputs(blocks=IDS) if name in ("awq", "owq") else MethodInputs()
    model = load_model(checkpoint)
    quantized = assemble(model, quantize_layers(model, method, bits, given))
    save_quantized(tmp_path / "q", quantized)
    planned = stored(Geometry.of_checkpoint(checkpoint), method, bits, GROUP_ROWS)
    payload = sum(tensor.nbytes for tensor in load_tensors(tmp_path / "q")[0].values())
    assert planned.bpw == pytest.approx(quantized.bpw(), rel=1e-9)
    assert planned.file_bytes == pytest.approx(payload, abs=1)


def test_bytes_of_allocated_depths_and_of_statistics(checkpoint, tmp_path):
    estimator = RandomSign(GROUP_ROWS, 3, 1, "float32", "hidden")
    statistics = estimator.run(load_model(checkpoint), IDS, 0, state_in(tmp_path))
    save_statistics(tmp_path / "s", statistics)
    geometry = Geometry.of_checkpoint(checkpoint)
    payload = sum(tensor.nbytes for tensor in load_tensors(tmp_path / "s")[0].values())
    assert statistics_bytes(geometry, GROUP_ROWS) == payload
    groups = sum(entry.grad_var.numel() for entry in statistics.values())
    assert geometry.groups(GROUP_ROWS) == groups
    depths = {name: torch.full(e.grad_var.shape, 3).byte() for name, e in statistics.items()}
    model, method = load_model(checkpoint), Radio(scale_fit="moments")
    quantized = assemble(
        model, quantize_layers(model, method, 3.0, MethodInputs(statistics, depths))
    )
    planned = stored(geometry, method, 3.0, GROUP_ROWS)
    assert planned.bpw == pytest.approx(quantized.bpw(), rel=1e-3)
    for kind, amount in (("bpw", planned.bpw), ("size", f"{planned.file_bytes / 1e6}MB")):
        same = stored(geometry, method, target(kind, amount), GROUP_ROWS)
        assert same.bpw == pytest.approx(planned.bpw, rel=1e-3)
        assert same.file_bytes == pytest.approx(planned.file_bytes, rel=1e-3)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["check=x.csv", "model=opt-125m"], "model beside check=x.csv"),
        (["device=abacus", "rate_bits=3"], "unknown device 'abacus'"),
        (["target.kl=0.1"], "target.kl=0.1 is met by measuring"),
        (["target.size=10MB"], "target.size=10MB is out of reach: this model and method reach 58"),
        (["target.bpw=30"], "target.bpw=30 is out of reach"),
        (["method=rtn", "target.size=90MB"], "target.size=90MB does not suit a method without"),
        (["rate_bits=3", "calibration.estimator.sequences=8"], "pilot_sequences=8 must lie"),
        (
            ["rate_bits=3", "calibration.estimator.dtype=int8"],
            "calibration.estimator.dtype=int8 is not accepted",
        ),
        (["model=local", "rate_bits=3"], "error: model.path is not given: add model.path=VALUE"),
        (["method=rtn", "rate_bits=2.5"], "rate_bits=2.5 does not suit rtn"),
        (["model=local", "model.path=/nowhere", "rate_bits=3"], "/nowhere is not a checkpoint"),
        ([], "rate"),
    ],
)
def test_refuses(capsys, words, sentence):
    assert main(["plan", *words]) == 2
    told = capsys.readouterr()
    assert sentence in told.err and not told.out


def test_a_model_without_an_architecture(monkeypatch):
    spec = ModelSpec.from_config(compose_step("prepare", ["model=opt-125m", "out=x"]).model)
    from dataclasses import replace

    from radio.resources.planned_shape import geometry_of

    with pytest.raises(RadioError, match="no architecture in its YAML"):
        geometry_of(replace(spec, architecture=None))


def test_the_page_on_running_has_the_numbers_of_the_plan(capsys):
    page = (CONFIG.parent / "docs/running.md").read_text()
    table = [line.strip("| \n").split(" | ") for line in page.splitlines() if line[:1] == "|"]
    names, rows = table[0][1:], table[2:6]
    for model, *values in rows:
        assert main(["plan", f"model={model}", "method=radio", "target.bpw=3"]) == 0
        told = dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines())
        assert values == [told[name].partition(" (")[0] for name in names]


def test_a_plan_has_all_steps_that_hold_the_model_and_keeps_to_the_memory_allowed(
    capsys, monkeypatch
):
    def told(*words: str) -> dict[str, str]:
        assert main(["plan", "model=llama2-7b", "target.bpw=3", *words]) == 0
        return dict(re.split(r"  +", line) for line in capsys.readouterr().out.splitlines())

    learned, loop = told("method=radio-plus"), told("method=radio-paper")
    for step in ("codebook", "distortion"):
        assert float(learned[f"memory, {step} (estimate)"].split()[0]) > 4 * 6.7
        assert f"memory, {step} (estimate)" not in loop
    assert "not planned" in loop["calibration"] and "memory, allocation" in loop
    streaming = "memory, calibration, streaming, inputs in memory"
    assert 11.5 < float(told()[streaming].split()[0]) <= 12  # half of 24
    monkeypatch.setenv("RADIO_MEMORY_GB", "10")
    assert 9.5 < float(told()[streaming].split()[0]) <= 10


@pytest.fixture
def measured(tmp_path):
    """A table whose measurements are the plans, with a factor for one of them."""
    device = read_device("cpu-2core")
    text = (CONFIG.parent / "results/table_scaling.csv").read_text()
    (tmp_path / "kept.csv").write_text(text)
    table = load_scaling_table(tmp_path / "kept.csv")
    table = table[table.model.isin(["random-opt-125m", "random-llama2-7b"])]

    def write(factor: float):
        rows = table.copy()
        for model, stage, what, _, planned in list(ratios(tmp_path / "kept.csv", device)):
            column = {"memory": "peak_memory_bytes", "time": "wall_s"}[what]
            own = (rows.model == model) & (rows.stage == stage)
            off = factor if (model, what) == ("random-opt-125m", "time") else 1.0
            rows.loc[own, column] = type(planned)(planned / off)
        save_table(rows, tmp_path / "table.csv")
        return tmp_path / "table.csv"

    return write


@pytest.mark.parametrize("factor, off", [(1.0, 0), (1.2, 0), (1.3, 2), (0.7, 2)])
def test_plans_beside_measurements(measured, capsys, factor, off):
    assert main(["plan", f"check={measured(factor)}"]) == 0
    *rows, verdict = capsys.readouterr().out.splitlines()[1:]
    assert f"{off} of 10 are off by more than 25%" in verdict and len(rows) == 10
    told = {tuple(row.split()[:3]): float(row.split()[-1]) for row in rows}
    for key, ratio in told.items():
        own = key[0] == "random-opt-125m" and key[2] == "time"
        assert ratio == pytest.approx(factor if own else 1.0, abs=0.01), key


def test_what_is_no_table_of_times_is_refused(capsys, tmp_path):
    other = CONFIG.parent / "results/table_smollm2.csv"
    for path in (tmp_path / "none.csv", other):
        assert main(["plan", f"check={path}"]) == 2
        assert "is no table of times and memory" in capsys.readouterr().err


def test_a_calibration_that_reads_blocks_reads_them_as_often_as_planned(checkpoint, tmp_path):
    estimator = RandomSign(GROUP_ROWS, 3, 1, "float32", "hidden")
    geometry = Geometry.of_checkpoint(checkpoint)
    for at_once, times in ((1, 6), (2, 4)):
        model = BlockwiseBackward(StreamedModel(checkpoint, torch.float32), at_once)
        before = model.streamed.weights_read_bytes
        estimator.run(model, IDS, 0, state_in(tmp_path))
        read = model.streamed.weights_read_bytes - before
        assert readings(DictConfig(vars(estimator)), at_once) == times
        blocks = geometry.blocks * geometry.block_parameters
        weights = PASSES * geometry.weights
        wanted = geometry.dtype_bytes * (times * blocks + weights)
        assert read == pytest.approx(wanted, rel=0.05)  # checks of types in tests read a few more
