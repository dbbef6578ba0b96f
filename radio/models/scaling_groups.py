"""Tensors of a decoder block whose channels can be scaled without changing its function.

A norm or a linear layer writes a tensor that other linear layers read, channel by channel: if the
writer's parameters are divided by a scale, the readers' weights are multiplied by it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# writer -> readers, by family, in order of execution
READERS = {
    "llama": {
        "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.v_proj": ("self_attn.o_proj",),
        "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.up_proj": ("mlp.down_proj",),
    },
    "opt": {
        "self_attn_layer_norm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "self_attn.v_proj": ("self_attn.out_proj",),
        "final_layer_norm": ("fc1",),
        "fc1": ("fc2",),
    },
}


@dataclass(frozen=True)
class ScalingGroup:
    """A tensor of a block: the module that writes it, and all linear layers that read it.

    Attributes:
        writer: a norm or a linear layer.
        readers: linear layers by their names in the block.
    """

    writer: nn.Module
    readers: dict[str, nn.Linear]

    @torch.no_grad()
    def divide(self, scale: Float[Tensor, " channels"]) -> None:
        """Divide the tensor by `scale` > 0, and multiply the readers' columns by it, in place."""
        for name, parameter in self.writer.named_parameters(recurse=False):
            by_row = name == "weight" and isinstance(self.writer, nn.Linear)
            parameter.div_(scale[:, None] if by_row else scale)
        for reader in self.readers.values():
            reader.weight.mul_(scale)


def scaling_groups(block: nn.Module) -> list[ScalingGroup]:
    """Return the tensors of a decoder block that can be scaled, in order of execution.

    Excluded: values that several heads share (grouped queries), so that writer and reader differ in
    shape; the output of an OPT-350M norm, which the residual also reads; inputs of an activation
    that is not positively homogeneous; norms without parameters.
    """
    attention: Any = block.get_submodule("self_attn")
    linears = {name: each for name, each in block.named_modules() if isinstance(each, nn.Linear)}
    found = []
    for name, readers in READERS[attention.config.model_type].items():
        scaling_group = ScalingGroup(
            block.get_submodule(name), {reader: linears[reader] for reader in readers}
        )
        if _exact(block, name, scaling_group):
            found.append(scaling_group)
    return found


def _exact(block: nn.Module, name: str, scaling_group: ScalingGroup) -> bool:
    """Return whether `scaling_group.divide` leaves the block's function unchanged."""
    if not isinstance(scaling_group.writer, nn.Linear):
        feeds_readers_only = getattr(block, "do_layer_norm_before", True)
        return feeds_readers_only and getattr(scaling_group.writer, "weight", None) is not None
    if name == "fc1" and not isinstance(block.get_submodule("activation_fn"), nn.ReLU):
        return False
    rows = scaling_group.writer.out_features
    return all(reader.in_features == rows for reader in scaling_group.readers.values())
