"""Targets of bits and bytes: kept to the last group, and refused where out of reach."""

import re

import pytest
import torch

from radio.allocate.layers import allocate_layers
from radio.calibrate.statistics import LayerStatistics
from radio.models import decoder_linears, load_model
from radio.models.load import skeleton
from radio.pack.file import assemble, file_bytes, save_quantized
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.radio import Radio
from radio.rate import target
from radio.runtime.errors import RadioError
from radio.targets.bytes import PADDING_BYTES, mean_depth
from radio.theory.codebook import companded
from radio.theory.grouping import cluster_rows, locations_and_scales
from tests.tiny import tiny_llama, tiny_opt

BOOKS = tuple(companded(bits).levels for bits in range(9))


def statistics_of(model) -> dict[str, LayerStatistics]:
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, linear in decoder_linears(model).items():
        weight = linear.weight.detach()
        rows, cols = weight.shape
        cluster = cluster_rows(weight.var(dim=1), torch.ones(rows), 16)
        clusters = int(cluster.max()) + 1
        grad_var = torch.exp(2 * torch.randn(clusters, cols, generator=generator))
        scale = locations_and_scales(weight, cluster, clusters)[1]
        found[name] = LayerStatistics(cluster, grad_var, scale.square(), torch.zeros(cols))
    return found


@pytest.fixture(params=["llama", "opt", "learned", "bytes"])
def setting(request, tmp_path):
    """Checkpoint, method, codebooks: without and with biases, a table in the file, short lines."""
    make = tiny_opt if request.param == "opt" else tiny_llama
    learned = request.param == "learned"
    scale_bits = 8 if request.param == "bytes" else 16
    method = Radio("learned" if learned else "companded", "moments", scale_bits=scale_bits)
    return make(tmp_path / "model"), method, BOOKS if learned else None


def compressed(setting, asked):
    path, method, books = setting
    model = load_model(path)
    statistics = statistics_of(model)
    rate_bits = mean_depth(asked, skeleton(path), method, statistics, books)
    depths, _ = allocate_layers(statistics, rate_bits, "exact")
    given = MethodInputs(statistics, depths, books)
    quantized = assemble(model, quantize_layers(model, method, rate_bits, given))
    # the padding of codes, and the last group that did not fit
    slack_bits = 8 * PADDING_BYTES * len(statistics) / quantized.weights() + 16 / 1000
    return quantized, slack_bits


@pytest.mark.parametrize("bits", ["4.0", "5.5", "8.0"])
def test_true_bits_keep_to_the_target(setting, bits):
    quantized, slack_bits = compressed(setting, target("bpw", bits))
    assert float(bits) - slack_bits <= quantized.bpw() <= float(bits)


@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_the_file_keeps_to_its_size(setting, share, tmp_path):
    with pytest.raises(RadioError) as refusal:
        compressed(setting, target("size", "1GB"))
    low, high = map(float, re.findall(r"reach ([\d.]+) to ([\d.]+) MB", str(refusal.value))[0])
    megabytes = low + share * (high - low)
    quantized, slack_bits = compressed(setting, target("size", f"{megabytes}MB"))
    save_quantized(tmp_path / "q.safetensors", quantized)
    size = (tmp_path / "q.safetensors").stat().st_size
    tensors = 8 * len(quantized.layers) + len(quantized.rest)
    assert size <= megabytes * 1e6
    assert size >= megabytes * 1e6 - slack_bits * quantized.weights() / 8 - 40 * tensors
    # the header is counted as long as it is, or at most 40 bytes a tensor longer
    assert size <= file_bytes(quantized) <= size + 40 * tensors


@pytest.mark.parametrize("asked", [("bpw", "0.1"), ("bpw", "12"), ("size", "1MB")])
def test_refuses_what_is_out_of_reach(setting, asked):
    with pytest.raises(RadioError, match=r"is out of reach: this model and method reach \d"):
        compressed(setting, target(*asked))
