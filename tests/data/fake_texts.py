"""Texts and tokenizers that tests make up, in the layout of the real ones."""

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path

import pyarrow
import pyarrow.parquet
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CONFIG = Path(__file__).parents[2] / "config" / "data"


def byte_tokenizer(bos: bool) -> PreTrainedTokenizerFast:
    """One token a byte; with `bos`, a <s> in front of every string, as Llama and OPT have it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<s>": 0} | {letter: index for index, letter in enumerate(alphabet, start=1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 0)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>")


def word_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token for each word that occurs in `texts`."""
    found = dict.fromkeys(word for text in texts for word in text.split())
    vocabulary = {word: index for index, word in enumerate(found)}
    # a window of a long text may cut a word
    tokenizer = Tokenizer(models.WordLevel({**vocabulary, "<unk>": len(found)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def write_parquet(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"text": rows}), path)


def write_json_gz(path: Path, rows: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        for row in rows:
            content = {"text": row, "timestamp": "2019-04-25T12:57:54Z", "url": "https://a.b"}
            file.write(json.dumps(content) + "\n")


def article(title: str, paragraphs: int) -> list[str]:
    """Rows of one article as they stand in WikiText-2: blank lines, heading, section, text."""
    body = [
        f" {title} {document(ord(title[0]) * 100 + index, 250)} . \n" for index in range(paragraphs)
    ]
    return ["", f" = {title} = \n", "", *body[:1], " = = History = = \n", *body[1:]]


def document(index: int, length: int) -> str:
    """A document of exactly `length` characters of ASCII that begins with its index."""
    letters = random.Random(index).choices("abcdefghij ", k=length)
    return f"{index:05d} {''.join(letters)}"[:length]
