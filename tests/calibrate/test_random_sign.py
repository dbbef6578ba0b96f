"""Calibration: the random-sign estimator against exact sums, means, clusters, resume, refusals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from radio.calibrate.random_sign import RandomSign
from radio.calibrate.statistics import load_statistics, save_statistics
from radio.models import decoder_linears, final_hidden, load_model
from radio.runtime.errors import RadioError
from tests.tiny import state_in, tiny_llama, tiny_opt

LENGTH = 6


@pytest.fixture(params=[tiny_llama, tiny_opt], ids=["llama", "opt"])
def checkpoint(request, tmp_path):
    return request.param(
        tmp_path / "model",
        num_hidden_layers=1,
        hidden_size=16,
        **{
            tiny_llama: {"intermediate_size": 32},
            tiny_opt: {"ffn_dim": 32, "word_embed_proj_dim": 16},
        }[request.param],
    )


def blocks(count: int) -> torch.Tensor:
    return torch.randint(2, 300, (count, LENGTH), generator=torch.Generator().manual_seed(3))


def exact_grad_var(path: Path, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sum over tokens and coordinates of squared derivatives, one backward pass for each."""
    model = load_model(path)
    linears = decoder_linears(model)
    sums = {name: torch.zeros_like(linear.weight) for name, linear in linears.items()}
    weights = [linear.weight for linear in linears.values()]
    for row in ids:
        for value in final_hidden(model, row[None]).flatten():
            gradients = torch.autograd.grad(value, weights, retain_graph=True)
            for name, gradient in zip(sums, gradients, strict=True):
                sums[name] += gradient.square()
    return {name: total / ids.numel() for name, total in sums.items()}


def estimate(path: Path, ids: torch.Tensor, **settings):
    defaults = {
        "group_rows": 8,
        "pilot_sequences": 1,
        "dtype": "float32",
        "distortion_measure": "hidden",
    }
    estimator = RandomSign(**{**defaults, "sequences": len(ids), **settings})
    return estimator.run(load_model(path), ids, 0, state_in(path.parent))


def by_group(statistics, exact) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimated and exact gradient variances of all groups."""
    found, wanted = [], []
    for name, entry in statistics.items():
        for c in range(len(entry.grad_var)):
            found.append(entry.grad_var[c])
            wanted.append(exact[name][entry.cluster == c].mean(dim=0))
    found, wanted = torch.cat(found), torch.cat(wanted)
    return found, wanted


def test_random_signs_estimate_the_exact_sum_without_bias(checkpoint):
    """Relative error falls as 1/sqrt(n) to the exact value."""
    ids = blocks(1)
    exact = exact_grad_var(checkpoint, ids)
    errors = []
    for repeats in (16, 256):
        statistics = estimate(checkpoint, ids.expand(repeats + 1, -1))
        found, wanted = by_group(statistics, exact)
        errors.append(((found - wanted).norm() / wanted.norm()).item())
        bias = (found.sum() / wanted.sum() - 1).item()
    assert errors[1] < 0.2 and 2 < errors[0] / errors[1] < 8  # sqrt(256 / 16) = 4
    assert abs(bias) < 0.05


def test_input_means_and_weight_variances_are_exact(checkpoint):
    ids = blocks(3)
    statistics = estimate(checkpoint, ids)
    model = load_model(checkpoint)
    for name, linear in decoder_linears(model).items():
        seen = []
        handle = linear.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        with torch.no_grad():
            final_hidden(model, ids)
        handle.remove()
        entry = statistics[name]
        torch.testing.assert_close(entry.input_mean, seen[0].flatten(0, -2).mean(0))
        for c in range(len(entry.weight_var)):
            group = linear.weight[entry.cluster == c].detach()
            spread = (group - group.median(dim=0).values).square().mean(dim=0)
            torch.testing.assert_close(entry.weight_var[c], spread)


def test_bfloat16_ranks_groups_as_float32_does(checkpoint):
    ids = blocks(9)
    full, half = (estimate(checkpoint, ids, dtype=d) for d in ("float32", "bfloat16"))
    log_ratio = torch.cat([(half[n].grad_var / full[n].grad_var).flatten().log2() for n in full])
    # inputs that are dead in both precisions (ReLU) have 0 / 0; log2 ratio 1 is half a bit of depth
    log_ratio = log_ratio[~log_ratio.isnan()]
    assert len(log_ratio) > 100 and log_ratio.abs().quantile(0.95) < 0.2


def test_no_gradient_outlives_the_backward_pass(checkpoint):
    model = load_model(checkpoint)
    RandomSign(8, 2, 1, "float32", "hidden").run(model, blocks(2), 0, state_in(checkpoint.parent))
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert not any(linear._forward_pre_hooks for linear in decoder_linears(model).values())


def test_statistics_round_trip(checkpoint, tmp_path):
    statistics = estimate(checkpoint, blocks(3))
    save_statistics(tmp_path / "s.safetensors", statistics)
    loaded = load_statistics(tmp_path / "s.safetensors")
    assert list(loaded) == list(statistics)
    for name, entry in statistics.items():
        assert torch.equal(loaded[name].grad_var, entry.grad_var)
        assert torch.equal(loaded[name].cluster, entry.cluster)


KILLED = """
import sys, torch
from pathlib import Path
import radio.calibrate.random_sign as calibrate
from radio.models import load_model
from radio.calibrate.statistics import save_statistics
from tests.calibrate.test_random_sign import blocks
from tests.tiny import state_in
calibrate.SAVE_EVERY_S = 0.0
checkpoint, out = Path(sys.argv[1]), Path(sys.argv[2])
estimator = calibrate.RandomSign(8, 12, 4, "float32", "hidden")
statistics = estimator.run(load_model(checkpoint), blocks(12), 0, state_in(out.parent))
save_statistics(out, statistics)
"""


@pytest.mark.parametrize("killed_at", [2, 7])
def test_killed_calibration_resumes_to_the_same_bytes(checkpoint, tmp_path, killed_at, monkeypatch):
    """kill -9 before and after rows are clustered, then run again."""
    import radio.calibrate.random_sign as module

    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    estimator = RandomSign(8, 12, 4, "float32", "hidden")
    statistics = estimator.run(load_model(checkpoint), blocks(12), 0, state_in(tmp_path))
    save_statistics(whole, statistics)

    suicide = KILLED.replace(
        "estimator =",
        "step = calibrate.backward_random_signs\n"
        "def stop(model, ids, output, seed, index):\n"
        f"    if index == {killed_at}: import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
        "    step(model, ids, output, seed, index)\n"
        "calibrate.backward_random_signs = stop\nestimator =",
    )
    run = [sys.executable, "-c", suicide, str(checkpoint), str(resumed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    assert (
        subprocess.run(run, env=environment, stderr=subprocess.DEVNULL).returncode
        == -signal.SIGKILL
    )
    assert not resumed.exists() and state_in(tmp_path).path.exists()

    indices = []
    step = module.backward_random_signs
    monkeypatch.setattr(
        module,
        "backward_random_signs",
        lambda *given: (indices.append(given[-1]), step(*given)),
    )
    again = estimator.run(load_model(checkpoint), blocks(12), 0, state_in(tmp_path))
    save_statistics(resumed, again)
    assert indices == list(range(killed_at, 12))
    assert resumed.read_bytes() == whole.read_bytes()


def test_partial_state_of_another_calibration_is_not_used(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("radio.calibrate.random_sign.SAVE_EVERY_S", 0.0)
    estimate(checkpoint, blocks(4))
    assert state_in(checkpoint.parent).path.exists()
    state = state_in(checkpoint.parent, "another")
    calibration = RandomSign(8, 4, 1, "float32", "hidden")
    other = calibration.run(load_model(checkpoint), blocks(4), 1, state)
    state.remove()
    fresh = calibration.run(load_model(checkpoint), blocks(4), 1, state)
    for name, entry in fresh.items():
        assert torch.equal(other[name].grad_var, entry.grad_var)


def test_what_is_no_state_of_a_calibration_is_not_used(checkpoint, tmp_path):
    estimator, state = RandomSign(8, 4, 1, "float32", "hidden"), state_in(tmp_path)
    wanted = estimator.run(load_model(checkpoint), blocks(4), 1, state)
    save_statistics(state.path, wanted)
    found = estimator.run(load_model(checkpoint), blocks(4), 1, state)
    for name, entry in wanted.items():
        assert torch.equal(found[name].grad_var, entry.grad_var)


def test_refuses_too_little_text_a_pilot_of_everything_and_an_unknown_output(checkpoint):
    with pytest.raises(RadioError, match=r"calibration.estimator.sequences=5 exceeds the 2 blocks"):
        RandomSign(8, 5, 1, "float32", "hidden").run(
            load_model(checkpoint), blocks(2), 0, state_in(Path("unused"))
        )
    with pytest.raises(RadioError, match="pilot_sequences=4"):
        RandomSign(8, 4, 4, "float32", "hidden")
    with pytest.raises(
        RadioError, match=r"calibration.estimator.distortion_measure=logits is not accepted"
    ):
        RandomSign(8, 4, 1, "float32", "logits")
    with pytest.raises(RadioError, match=r"dtype=float99 is not accepted: set one of float32"):
        RandomSign(8, 4, 1, "float99", "hidden")


def exact_fisher(path: Path, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean over tokens of the diagonal of J^T (diag p - p p^T) J, logit by logit."""
    model = load_model(path)
    linears = decoder_linears(model)
    weights = [linear.weight for linear in linears.values()]
    sums = {name: torch.zeros_like(linear.weight) for name, linear in linears.items()}
    for row in ids:
        logits = model(input_ids=row[None]).logits[0]
        for token in logits:
            p = token.detach().softmax(0)
            jacobian = [torch.autograd.grad(value, weights, retain_graph=True) for value in token]
            for index, name in enumerate(sums):
                rows = torch.stack([gradients[index] for gradients in jacobian])
                mean = torch.einsum("v,vij->ij", p, rows)
                sums[name] += torch.einsum("v,vij->ij", p, rows.square()) - mean.square()
    return {name: total / ids.numel() for name, total in sums.items()}


def test_the_kl_output_estimates_the_fisher_diagonal_without_bias(tmp_path):
    """Twice the second-order divergence of the next token's distribution, exactly."""
    path = tiny_llama(
        tmp_path / "model",
        vocab_size=24,
        num_hidden_layers=1,
        hidden_size=16,
        intermediate_size=32,
        initializer_range=0.3,
    )
    ids = blocks(1) % 24
    exact = exact_fisher(path, ids)
    statistics = estimate(path, ids.expand(601, -1), distortion_measure="kl")
    found, wanted = by_group(statistics, exact)
    # 600 signs: relative noise of the norm about sqrt(2 / 600)
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.2
    assert abs((found.sum() / wanted.sum() - 1).item()) < 0.05
