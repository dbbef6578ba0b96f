"""The model behind the allocation: gradient variances predict the output error of quantization."""

import pytest
import torch

from radio.allocate.layers import allocate_layers
from radio.calibrate.random_sign import RandomSign
from radio.models import decoder_linears, final_hidden, load_model
from radio.pack.file import assemble, install
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.radio import Radio
from radio.theory.grouping import cluster_mean, cluster_sizes
from tests.tiny import state_in, tiny_llama, tiny_opt

IDS = torch.randint(2, 300, (48, 16), generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=[tiny_llama, tiny_opt], ids=["llama", "opt"])
def calibrated(request, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("calibrated")
    path = request.param(tmp_path / "model")
    text = IDS.repeat(8, 1)  # with signs of its own for every repetition
    estimator = RandomSign(16, len(text), 2, "float32", "hidden")
    return path, estimator.run(load_model(path), text, 0, state_in(tmp_path))


def ratio_at(rate_bits: float, path, statistics) -> float:
    """Predicted over measured squared error of a token's final hidden states."""
    depths, _ = allocate_layers(statistics, rate_bits, "exact")
    model = load_model(path)
    linears = decoder_linears(model)
    original = {name: linear.weight.detach().clone() for name, linear in linears.items()}
    with torch.no_grad():
        before = final_hidden(model, IDS)
        given = MethodInputs(statistics, depths)
        layers = quantize_layers(model, Radio(correct_bias=False), rate_bits, given)
        install(model, assemble(model, layers))
        after = final_hidden(model, IDS)
    predicted = 0.0
    for name, linear in linears.items():
        entry = statistics[name]
        error = cluster_mean(
            (linear.weight.detach() - original[name]).square(), entry.cluster, len(entry.grad_var)
        )
        numel = cluster_sizes(entry.cluster, len(entry.grad_var))[:, None]
        predicted += float((numel * entry.grad_var * error).sum())
    return predicted / float((after - before).square().sum(-1).mean())


@pytest.mark.slow
@pytest.mark.parametrize("rate_bits", [4.0, 5.0, 6.0])
def test_predicted_and_measured_output_distortion_agree(calibrated, rate_bits):
    """To second order in the errors, and but for the noise of 382 sign patterns."""
    assert ratio_at(rate_bits, *calibrated) == pytest.approx(1, abs=0.15)
