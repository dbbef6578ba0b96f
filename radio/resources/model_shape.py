"""Sizes of a model that decide memory, disk and time, from its configuration only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from radio.models.blocks import decoder_blocks
from radio.models.check import check_checkpoint
from radio.models.load import decoder_linears, head
from radio.runtime.errors import RadioError
from radio.theory.grouping import cluster_count


@dataclass(frozen=True)
class Geometry:
    """Shape of a decoder: numbers of blocks, parameters and units.

    Attributes:
        blocks: decoder blocks.
        width: units of the hidden states between blocks.
        vocabulary: tokens.
        linears: rows and columns of the linear layers of one block, in order of execution.
        block_parameters: parameters of one block.
        outside_parameters: parameters outside the blocks, tied ones once.
        head_parameters: parameters of the head, tied or not.
        has_biases: whether the linear layers have biases.
        dtype_bytes: bytes of a weight as published.
    """

    blocks: int
    width: int
    vocabulary: int
    linears: tuple[tuple[int, int], ...]
    block_parameters: int
    outside_parameters: int
    head_parameters: int
    has_biases: bool
    dtype_bytes: int

    @classmethod
    def of_checkpoint(cls, path: Path) -> "Geometry":
        """Return the geometry of the checkpoint in directory `path`; no weights are read."""
        return cls._of(check_checkpoint(path))

    @classmethod
    def of_architecture(cls, family: str, settings: Mapping[str, Any]) -> "Geometry":
        """Return the geometry of a configuration of `family` with these settings.

        Raises:
            RadioError: the settings are not valid for the family.
        """
        try:
            return cls._of(AutoConfig.for_model(family, **settings))
        except (TypeError, ValueError, RuntimeError) as error:
            raise RadioError(
                f"model.architecture={dict(settings)} makes no {family} model ({error}): correct it"
            ) from error

    @classmethod
    def _of(cls, config: Any) -> "Geometry":
        blocks = config.num_hidden_layers
        config.num_hidden_layers = 1  # all blocks are alike
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        linears = list(decoder_linears(model).values())
        (block,) = decoder_blocks(model).values()
        inside = sum(parameter.numel() for parameter in block.parameters())
        return cls(
            blocks=blocks,
            width=config.hidden_size,
            vocabulary=config.vocab_size,
            linears=tuple((e.out_features, e.in_features) for e in linears),
            block_parameters=inside,
            outside_parameters=sum(p.numel() for p in model.parameters()) - inside,
            head_parameters=head(model).weight.numel(),
            has_biases=any(each.bias is not None for each in linears),
            dtype_bytes=(config.dtype or torch.float32).itemsize,
        )

    @property
    def parameters(self) -> int:
        """Number of all parameters, tied ones once."""
        return self.blocks * self.block_parameters + self.outside_parameters

    @property
    def weights(self) -> int:
        """Number of quantized weights: those of linear layers in decoder blocks."""
        return self.blocks * sum(rows * cols for rows, cols in self.linears)

    def groups(self, group_rows: int) -> int:
        """Return the number of weight groups, each of one column and about `group_rows` rows."""
        return self.blocks * sum(
            cluster_count(rows, group_rows) * cols for rows, cols in self.linears
        )
