"""Folds: a block computes the same whatever its tensors are scaled by, and none is missed."""

import copy

import pytest
import torch

from radio.models import decoder_blocks, load_model, scaling_groups
from tests.tiny import tiny_llama, tiny_opt

# model, overrides, readers of each fold
LLAMA = ["self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj"]
OPT = ["self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2"]
CASES = {
    "llama": (tiny_llama, {"num_key_value_heads": 4}, LLAMA),
    "llama-biases": (
        tiny_llama,
        {"num_key_value_heads": 4, "attention_bias": True, "mlp_bias": True},
        LLAMA,
    ),
    "llama-grouped-queries": (tiny_llama, {}, [name for name in LLAMA if "o_proj" not in name]),
    "opt": (tiny_opt, {}, OPT),
    "opt-no-biases": (tiny_opt, {"enable_bias": False}, OPT),
    "opt-350m": (tiny_opt, {"do_layer_norm_before": False}, ["self_attn.out_proj", "fc2"]),
    "opt-gelu": (tiny_opt, {"activation_function": "gelu"}, OPT[:-1]),
    "opt-bare-norms": (
        tiny_opt,
        {"layer_norm_elementwise_affine": False},
        ["self_attn.out_proj", "fc2"],
    ),
}


@pytest.fixture(params=CASES)
def case(request, tmp_path):
    """A model in float64, and the first reader of each of its blocks' folds."""
    make, overrides, readers = CASES[request.param]
    return load_model(make(tmp_path / "model", **overrides)).double(), readers


def test_all_that_can_be_folded_is_found(case):
    model, readers = case
    for block in decoder_blocks(model).values():
        assert [
            next(iter(scaling_group.readers)) for scaling_group in scaling_groups(block)
        ] == readers


def test_the_models_function_does_not_change(case):
    """All folds of all blocks at once, by scales over a factor of 100, in float64."""
    model, _ = case
    scaled, ids = copy.deepcopy(model), torch.randint(2, 300, (2, 24))
    for block in decoder_blocks(scaled).values():
        for scaling_group in scaling_groups(block):
            cols = next(iter(scaling_group.readers.values())).in_features
            scaling_group.divide(10 ** (2 * torch.rand(cols, dtype=torch.float64) - 1))
    with torch.no_grad():
        before, after = model(ids).logits, scaled(ids).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-11)
    changed = [
        name
        for (name, one), other in zip(model.named_parameters(), scaled.parameters(), strict=True)
        if not torch.equal(one, other)
    ]
    assert len(changed) >= 2 * len(decoder_blocks(model))


def test_readers_see_the_tensor_divided(case):
    """What a fold says of its readers' inputs, against the block's own forward pass."""
    model, _ = case
    block, inputs = next(iter(decoder_blocks(model).values())), []
    scaling_group = scaling_groups(block)[0]
    reader = next(iter(scaling_group.readers.values()))
    reader.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    ids, scale = torch.randint(2, 300, (2, 24)), torch.rand(reader.in_features).double() + 0.5
    with torch.no_grad():
        model(ids)
        scaling_group.divide(scale)
        model(ids)
    torch.testing.assert_close(inputs[1], inputs[0] / scale, rtol=0, atol=1e-11)
