"""Cut a text into blocks of tokens of a model's tokenizer."""

from pathlib import Path

from omegaconf import DictConfig

from radio.data import load_text, save_token_splits
from radio.models import load_tokenizer
from radio.runtime.manifest import recorded
from radio.steps.inputs import checkpoint_path


def run(cfg: DictConfig) -> None:
    """`artifacts.model` and the text `data` -> calibration, validation and test blocks at `out`."""
    out = Path(cfg.out)
    with recorded("tokenize", cfg, out) as measured:
        splits = load_text(cfg.data, load_tokenizer(checkpoint_path(cfg)))
        save_token_splits(out, splits)
        for split, blocks in splits.items():
            measured[split] = {
                "protocol": blocks.protocol,
                "sha256": blocks.sha256,
                "tokens": blocks.ids.numel(),
                "documents": len(blocks.documents),
            }
