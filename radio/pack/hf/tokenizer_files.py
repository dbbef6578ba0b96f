"""Copy the tokenizer and other small files of a checkpoint, never code."""

import json
import shutil
from pathlib import Path

from radio.models import load_tokenizer
from radio.pack.hf.integrity import TEMPLATES
from radio.runtime.errors import RadioError
from radio.runtime.files import read_json

NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
# key that names a class in a Python file of the checkpoint; such files are not copied
CODE = "auto_map"


def copy_tokenizer_files(source: Path, folder: Path) -> None:
    """Copy the tokenizer, chat templates and generation settings of a checkpoint, byte for byte.

    Only `auto_map`, which names code, is removed from the two JSON files of settings.

    Raises:
        RadioError: the tokenizer is damaged or needs code of the checkpoint, or a file is a link
            to a path outside the checkpoint.
    """
    load_tokenizer(source)
    templates = sorted(path.name for path in (source / TEMPLATES).glob("*.jinja"))
    for name in (*NAMES, *(f"{TEMPLATES}/{template}" for template in templates)):
        if (source / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(_inside(source, name), folder / name)
    for name in ("generation_config.json", "tokenizer_config.json"):
        if (folder / name).exists() and CODE in (content := read_json(folder / name)):
            del content[CODE]
            text = json.dumps(content, indent=2) + "\n"
            (folder / name).write_text(text, encoding="utf-8")


def _inside(source: Path, name: str) -> Path:
    """Return the path of a checkpoint file; links may point into the hub's cache."""
    file = (source / name).resolve()
    allowed = [source.resolve()]
    if source.resolve().parent.name == "snapshots":
        allowed.append(source.resolve().parents[1] / "blobs")
    if not file.is_file() or not any(file.is_relative_to(each) for each in allowed):
        raise RadioError(
            f"{source / name} is a link to {file}, outside the checkpoint: put the file there"
        )
    return file
