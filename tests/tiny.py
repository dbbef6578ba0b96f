"""Tiny OPT and Llama checkpoints with random weights and a byte-level tokenizer, for tests."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from radio.runtime.state import StateStore

CORPUS = ["The quick brown fox jumps over the lazy dog, and the dog sleeps in the sun."] * 4


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of 300 tokens: 2 special ones, 256 bytes and a few merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>"
    )


def tiny_llama(path: Path, **overrides: object) -> Path:
    """Save a 2-layer Llama, 64 wide, 4 heads over 2 key-value heads, to directory `path`."""
    settings: dict[str, object] = {
        "vocab_size": 300,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    return _save(LlamaForCausalLM(LlamaConfig(**{**settings, **overrides})), path)


def tiny_opt(path: Path, **overrides: object) -> Path:
    """Save a 2-layer OPT, 64 wide, with biases and learned positions, to directory `path`."""
    settings: dict[str, object] = {
        "vocab_size": 300,
        "hidden_size": 64,
        "word_embed_proj_dim": 64,
        "ffn_dim": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    return _save(OPTForCausalLM(OPTConfig(**{**settings, **overrides})), path)


def _save(model: PreTrainedModel, path: Path) -> Path:
    """Write model and tokenizer; biases and norms become non-trivial, as in a trained model."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


# heads tied and not, shared keys and values, biases, projections beside the embedding
SHAPES = {
    "llama tied": (tiny_llama, {"num_hidden_layers": 3}),
    "llama": (tiny_llama, {"tie_word_embeddings": False, "num_key_value_heads": 1}),
    "opt": (tiny_opt, {}),
    "opt-350m": (tiny_opt, {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
}


def state_in(folder: Path, key: str = "key") -> StateStore:
    """Return where a job of a test keeps its state."""
    return StateStore(folder / "state", key)
