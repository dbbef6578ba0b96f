"""The order of methods on a real language model, at a fraction of the table's cost."""

import pytest
import torch
from omegaconf import OmegaConf

from radio.allocate.layers import allocate_layers
from radio.calibrate.random_sign import RandomSign
from radio.data import load_text
from radio.evaluate.perplexity import evaluate
from radio.evaluate.reference import compute_reference
from radio.models import (
    ModelSpec,
    decoder_blocks,
    fetch_checkpoint,
    head,
    load_model,
    load_tokenizer,
)
from radio.pack.codecs.linear import install_layer
from radio.quantize.blockwise import MethodInputs, quantize_blocks
from radio.quantize.methods.radio import Radio
from radio.quantize.methods.rtn import Rtn
from radio.runtime.compose import compose_step
from tests.tiny import state_in

SEQUENCES, TEST_BLOCKS, LENGTH = 6, 3, 256
EVERY = 5  # decoder blocks; the others keep full precision
NEAREST = "companded-nearest"


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> dict[str, float]:
    """KL divergence of each variant at 3 bits, a fifth of the model, few and short sequences."""
    cfg = compose_step("tokenize", [f"data.context_tokens={LENGTH}"])
    checkpoint = fetch_checkpoint(ModelSpec.from_config(cfg.model))
    text = load_text(cfg.data, load_tokenizer(checkpoint))
    blocks = text["test"].ids[:: len(text["test"].ids) // TEST_BLOCKS][:TEST_BLOCKS]
    model = load_model(checkpoint)
    reference = compute_reference(model, blocks, "test")
    estimator = RandomSign(
        OmegaConf.select(cfg, "model.group_rows"), SEQUENCES, 2, "bfloat16", "kl"
    )
    state = state_in(tmp_path_factory.mktemp("state"))
    statistics = estimator.run(load_model(checkpoint), text["calibration"].ids, 0, state)
    depths, _ = allocate_layers(statistics, 3.0, "exact")
    uniform = {name: torch.full_like(depth, 3) for name, depth in depths.items()}
    variants = {
        "rtn": (Rtn(), {}, {}),
        "rtn-g128": (Rtn(128), {}, {}),
        "radio": (Radio(NEAREST), statistics, depths),
        "radio, one depth": (Radio(NEAREST), statistics, uniform),
        "radio, no search": (Radio(NEAREST, "moments"), statistics, depths),
    }
    coded = list(decoder_blocks(model).items())[::EVERY]
    quantized, divergence = load_model(checkpoint), {}
    for name, (method, stats, bits) in variants.items():
        for block in quantize_blocks(coded, method, 3.0, MethodInputs(stats, bits), None):
            for layer, codes in block.layers.items():
                install_layer(quantized.get_submodule(layer), codes)
        divergence[name] = evaluate(quantized, blocks, reference, head(model)).summary()["kl"]
    return divergence


@pytest.mark.slow
def test_methods_rank_as_theory_says(measured):
    """Radio far before grouped RTN before RTN per row, even from six short sequences."""
    assert measured["radio"] < 0.5 * measured["rtn-g128"]
    assert measured["rtn-g128"] < measured["rtn"]


@pytest.mark.slow
def test_each_part_of_radio_earns_its_place(measured):
    """Mixed depth beats one, searched scales unsearched ones."""
    assert measured["radio"] < 0.9 * measured["radio, one depth"]
    assert measured["radio"] < 0.8 * measured["radio, no search"]
