"""A text that is tokenized in pieces gets the ids of the whole string, whatever the tokenizer."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from radio.data import encoding
from radio.data.encoding import encode
from radio.runtime.errors import RadioError

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<s>", "</s>", "<pad>"]

WORDS = [
    "the",
    "river",
    "Über",
    "naïve",
    "don't",
    "they're",
    "e.g.",
    "well-known",
    "1234567",
    "3.14",
]
WORDS += [
    "东京",
    "文字，",
    "はい。",
    "한국어",
    "привет",
    "🙂",
    "👩‍👩‍👧",
    "e\u0301",
    "क्षि",
    "</s>",
    "<s>",
    "<mask>",
]
GAPS = [" "] * 12 + [
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    " \n ",
    "\u00a0",
    "\u3000",
    "",
    ".",
    ", ",
    "    ",
]


def prose(draw: random.Random, length: int) -> str:
    """About so many characters of words of all scripts."""
    parts: list[str] = []
    while (sum(map(len, parts[-2:])) and length > 0) or not parts:
        parts += [draw.choice(WORDS), draw.choice(GAPS)]
        length -= len(parts[-1]) + len(parts[-2])
    return "".join(parts)


CORPUS = [prose(random.Random(seed), 2000) for seed in range(30)]


def trained(tokenizer: Tokenizer, alphabet: list[str]) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", *SPECIAL], initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def finished(tokenizer: Tokenizer, begin: bool, end: bool = False) -> PreTrainedTokenizerFast:
    template = " ".join([*["<s>"] * begin, "$A", *["</s>"] * end])
    ids = [(name, tokenizer.token_to_id(name)) for name in ("<s>", "</s>")]
    own = [tokenizer.post_processor] if tokenizer.post_processor else []
    added = processors.TemplateProcessing(single=template, special_tokens=ids)
    tokenizer.post_processor = processors.Sequence([*own, added])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    made.add_special_tokens({"mask_token": AddedToken("<mask>", lstrip=True)})
    return made


def opt(prefix: bool = False) -> PreTrainedTokenizerFast:
    """GPT-2's words, `</s>` in front, spaces left out of offsets."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    trained(made, pre_tokenizers.ByteLevel.alphabet())
    made.post_processor = processors.ByteLevel(trim_offsets=True)
    return finished(made, begin=True)


def llama3() -> PreTrainedTokenizerFast:
    """Words by Llama-3's expression: digits in threes, signs with the line ends behind them."""
    made = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return finished(trained(made, pre_tokenizers.ByteLevel.alphabet()), begin=True, end=True)


def llama2() -> PreTrainedTokenizerFast:
    """Sentencepiece's: a space in front, no words at all, bytes for unknown characters."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trained(made, [f"<0x{byte:02X}>" for byte in range(256)])
    made.pre_tokenizer = None
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return finished(made, begin=True)


def metaspace() -> PreTrainedTokenizerFast:
    """As transformers makes Llama-2's today: only the first word gets a space in front."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return finished(trained(made, [f"<0x{byte:02X}>" for byte in range(256)]), begin=True)


def unigram() -> PreTrainedTokenizerFast:
    """T5's: the most probable pieces of each word, after normalization."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600, special_tokens=["<unk>", *SPECIAL], unk_token="<unk>"
    )
    made.train_from_iterator(CORPUS, trainer)
    made.decoder = decoders.Metaspace()
    return finished(made, begin=False, end=True)


KINDS = {
    "opt": opt,
    "opt, space in front": lambda: opt(prefix=True),
    "llama-3": llama3,
    "llama-2": llama2,
    "metaspace": metaspace,
    "unigram": unigram,
}


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make() for name, make in KINDS.items()}


def check(tokenizer: PreTrainedTokenizerFast, text: str, window: int = 1200) -> None:
    """In small windows and as a whole, the ids are the same."""
    whole = tokenizer(text, verbose=False)["input_ids"]
    assert encode(tokenizer, text, window, window // 3).tolist() == whole


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), window=st.integers(900, 2500))
def test_words_of_all_scripts(kind: str, seed: int, window: int, tokenizers) -> None:
    check(tokenizers[kind], prose(random.Random(seed), 8000), window)


STRETCHES = {
    "a word": "abcdefghij" * 250,
    "one letter": "a" * 2500,
    "digits": "1234567" * 350,
    "spaces": " " * 2500,
    "line ends": "\n" * 2500,
    "spaces and line ends": " \n  \r\n\t" * 350,
    "signs": "!?" * 1200,
    "characters of three bytes": "文字東京" * 500,
    "emoji": "🙂👩‍👩‍👧" * 250,
    "marks on marks": "e" + "\u0301" * 2000,
    "special tokens": "</s><s><mask>" * 200,
    "special tokens and spaces": " <mask>  </s> " * 200,
    "bytes": "".join(chr(code) for code in range(1, 0x1000)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stretch", STRETCHES)
def test_long_stretches_amid_words(kind: str, stretch: str, tokenizers) -> None:
    draw = random.Random(stretch)
    before, after = prose(draw, draw.randint(1500, 3000)), prose(draw, draw.randint(1500, 3000))
    check(tokenizers[kind], f"{before}{STRETCHES[stretch]}{after}")


def test_most_of_a_text_is_tokenized_in_short_windows(tokenizers, monkeypatch) -> None:
    """The memory that tokenizing takes goes by the window, not by the text."""
    lengths: list[int] = []
    called = encoding._tokens

    def counted(tokenizer, text, start, stop):
        lengths.append(min(stop, len(text)) - start)
        return called(tokenizer, text, start, stop)

    monkeypatch.setattr(encoding, "_tokens", counted)
    for tokenizer in tokenizers.values():
        encode(tokenizer, prose(random.Random(1), 30_000), 4000, 1500)
    assert max(lengths) == 4000


def test_a_short_text_and_an_empty_one(tokenizers) -> None:
    for tokenizer in tokenizers.values():
        assert encode(tokenizer, "a river").tolist() == tokenizer("a river")["input_ids"]
        assert encode(tokenizer, "").tolist() == tokenizer("")["input_ids"]


def test_half_a_surrogate_pair_is_refused(tokenizers) -> None:
    with pytest.raises(RadioError, match="half of a surrogate pair"):
        encode(tokenizers["opt"], "a river \ud83d and")


class Slow(PreTrainedTokenizer):
    """One token a character, without offsets."""

    vocab_size = 256

    def get_vocab(self) -> dict[str, int]:
        return {chr(code): code for code in range(256)}

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return list(text)

    def _convert_token_to_id(self, token: str) -> int:
        return ord(token)


def test_a_tokenizer_without_offsets_takes_texts_of_some_length(monkeypatch) -> None:
    assert torch.equal(encode(Slow(), "abc" * 900, 1000, 300), torch.tensor([97, 98, 99] * 900))
    monkeypatch.setattr(encoding, "WITHOUT_OFFSETS", 2000)
    with pytest.raises(RadioError, match="2700 characters, and the tokenizer Slow takes 2000"):
        encode(Slow(), "abc" * 900, 1000, 300)
