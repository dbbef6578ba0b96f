"""Damage to the JSON files of a checkpoint: every key with every kind of wrong value."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ABSENT = object()
POOL: tuple[object, ...] = (
    *(None, True, False, 0, 1, 3, 5, -1, 2.5, -0.5, 1e9, 10**12, 10**30),
    *("", "x", "3", [], [1], ["x"], {}, {"a": 1}, {"": None}, [[[]]], "a" * 10_000, ABSENT),
)
# keys that config.json may have too: of old checkpoints, of other families, of transformers itself
MORE = {
    "config.json": (
        *("rope_scaling", "rope_theta", "torch_dtype", "quantization_config", "auto_map"),
        *("attn_implementation", "_attn_implementation", "transformers_weights", "layer_types"),
        *("sliding_window", "per_layer_config", "is_encoder_decoder", "is_decoder", "id2label"),
        *("num_labels", "output_attentions", "output_hidden_states", "return_dict", "max_length"),
        *(
            "experts_implementation",
            "chunk_size_feed_forward",
            "add_cross_attention",
            "text_config",
        ),
        *("_name_or_path", "name_or_path", "tie_encoder_decoder", "pruned_heads", "use_bfloat16"),
        *("partial_rotary_factor", "num_hidden_layers_", "vision_config", "compression_config"),
    ),
    "tokenizer_config.json": (
        *("auto_map", "add_bos_token", "add_eos_token", "added_tokens_decoder", "chat_template"),
        *("clean_up_tokenization_spaces", "extra_special_tokens", "legacy", "padding_side"),
        *("additional_special_tokens", "add_prefix_space", "split_special_tokens", "unk_token"),
    ),
    "tokenizer.json": (),
    "generation_config.json": ("do_sample", "temperature", "max_length", "custom_generate"),
}
NESTED = {
    "config.json": ["rope_parameters"],
    "tokenizer.json": ["model", "pre_tokenizer", "post_processor", "decoder"],
}
ROPE = ("factor", "type", "low_freq_factor", "short_factor", "attention_factor", "beta_fast")


class Edit(NamedTuple):
    """One change to a file of a checkpoint."""

    name: str
    apply: Callable[[Path], object]


def edits(checkpoint: Path) -> list[Edit]:
    """Return all changes of one key of one file, and damage to whole files."""
    found: list[Edit] = []
    for file in MORE:
        content = json.loads((checkpoint / file).read_text())
        keys = [(key,) for key in (*content, *MORE[file])]
        for outer in NESTED.get(file, []):
            if isinstance(content.get(outer), dict):
                inner = (*content[outer], *(ROPE if outer == "rope_parameters" else ()))
                keys += [(outer, key) for key in inner]
        found += [_of_key(file, path, value) for path in keys for value in POOL]
        found += list(_of_file(file))
    return found


def _of_key(file: str, keys: tuple[str, ...], value: object) -> Edit:
    def apply(checkpoint: Path) -> None:
        path = checkpoint / file
        content = json.loads(path.read_text())
        *outer, last = keys
        inside = content
        for key in outer:
            inside = inside[key]
        if value is ABSENT:
            inside.pop(last, None)
        else:
            inside[last] = value
        path.write_text(json.dumps(content))

    said = "absent" if value is ABSENT else repr(value)[:40]
    return Edit(f"{file}: {'.'.join(keys)}={said}", apply)


def _of_file(file: str) -> Iterator[Edit]:
    """Yield changes to the bytes of a file."""
    for content in (b"", b"{", b"[]", b"null", b"3", b"\xff\xfe", b"[" * 50_000):
        yield Edit(f"{file}: {content[:6]!r}", lambda path, c=content: (path / file).write_bytes(c))  # type: ignore[misc]
    yield Edit(f"{file}: removed", lambda path: (path / file).unlink())
    for seed in range(20):
        yield Edit(f"{file}: bytes by seed {seed}", lambda path, s=seed: _spoil(path / file, s))  # type: ignore[misc]


def _spoil(file: Path, seed: int) -> None:
    """Change three bytes of a file, and cut every other file off."""
    draw, content = random.Random(seed), bytearray(file.read_bytes())
    for _ in range(3):
        content[draw.randrange(len(content))] = draw.randrange(256)
    file.write_bytes(content[: draw.randrange(len(content))] if seed % 2 else content)
