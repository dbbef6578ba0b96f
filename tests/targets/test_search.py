"""A target of accuracy on a tiny model: met on validation text, resumed, never twice measured."""

import pytest
import torch

import radio.targets.search as module
from radio.allocate.layers import allocate_layers
from radio.data.tokens import TokenSequences, sha256_of_ids
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import compute_reference
from radio.models import head, load_model
from radio.pack.file import assemble, install
from radio.quantize.blockwise import MethodInputs, quantize_layers
from radio.quantize.methods.radio import Radio
from radio.rate import target
from radio.targets.search import search
from tests.targets.test_bytes import statistics_of
from tests.tiny import state_in, tiny_llama


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    path = tiny_llama(tmp_path_factory.mktemp("m") / "model", initializer_range=0.3)
    ids = torch.randint(2, 300, (3, 24), generator=torch.Generator().manual_seed(1))
    statistics = statistics_of(load_model(path))
    return path, TokenSequences(ids, "validation", sha256_of_ids(ids)), statistics


def run(setting, asked, state):
    path, blocks, statistics = setting
    return search(
        path,
        Radio(),
        lambda rate_bits: allocate_layers(statistics, rate_bits, "exact")[0],
        MethodInputs(statistics),
        blocks,
        target(*asked),
        0.05,
        state,
    )


@pytest.mark.parametrize("asked", [("kl", "0.05"), ("perplexity_increase", "5%")])
def test_what_was_found_keeps_to_the_target(setting, asked, tmp_path):
    path, blocks, statistics = setting
    found, probes = run(setting, asked, state_in(tmp_path))
    amount = target(*asked).amount
    model = load_model(path)
    reference = compute_reference(model, blocks.ids, blocks.sha256)
    depths, _ = allocate_layers(statistics, found.rate_bits, "exact")
    original_head = load_model(path).get_output_embeddings()
    layers = quantize_layers(model, Radio(), found.rate_bits, MethodInputs(statistics, depths))
    install(model, assemble(model, layers))
    summary = evaluate(model, blocks.ids, reference, original_head).summary()
    loss = summary["kl"]
    if asked[0] != "kl":
        loss = summary["perplexity"] / summary["perplexity_fp16"] - 1
    assert loss == pytest.approx(found.loss, rel=1e-5) and loss <= amount
    assert any(probe.loss > amount for probe in probes)  # a lower rate was tried, and missed
    assert head(model) is not None


def test_a_killed_search_goes_on_where_it_was(setting, tmp_path, monkeypatch):
    state = state_in(tmp_path)
    whole = run(setting, ("kl", "0.05"), state)
    measured = []
    real = module.quantize_layers

    def counted(*arguments):
        measured.append(arguments[2])
        return real(*arguments)

    monkeypatch.setattr(module, "quantize_layers", counted)
    assert run(setting, ("kl", "0.05"), state) == whole and measured == []
    # losses of another method or target are no use
    run(setting, ("kl", "0.05"), state_in(tmp_path, "another"))
    assert measured
