"""Cut a text into blocks of tokens of a model's tokenizer."""

from omegaconf import DictConfig

from radio.data import load_text, save_token_splits
from radio.models import load_tokenizer
from radio.models.config import check_context, check_ids
from radio.models.step_inputs import checkpoint_path
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and the text `data`; write the blocks of all splits to `out`."""
    out = output_path(cfg.out)
    with recorded("tokenize", cfg, out) as (staged, measured):
        checkpoint = checkpoint_path(cfg)
        if isinstance(cfg.data.context_tokens, int):
            check_context(checkpoint, cfg.data.context_tokens, "data.context_tokens")
        splits = load_text(cfg.data, load_tokenizer(checkpoint))
        for blocks in splits.values():
            check_ids(checkpoint, blocks.ids)
        save_token_splits(staged, splits)
        for split, blocks in splits.items():
            measured[split] = {
                "protocol": blocks.protocol,
                "sha256": blocks.sha256,
                "tokens": blocks.ids.numel(),
                "documents": len(blocks.documents),
            }
