import struct
from hashlib import sha256

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radio.data import tokens
from radio.data.tokens import TokenSequences, sha256_of_ids
from radio.runtime.errors import RadioError


def blocks_of(ids, protocol="text-test/2x2/all/bos=none/join=none", documents=()):
    return tokens.hashed_blocks(torch.as_tensor(ids), protocol, documents)


@given(total=st.integers(0, 200), context=st.integers(1, 50))
def test_blocks_are_the_text_less_a_partial_block(total, context):
    ids = torch.arange(total)
    blocks = tokens.cut_blocks(ids, context)
    assert blocks.shape == (total // context, context)
    assert torch.equal(blocks.flatten(), ids[: blocks.numel()])


@given(available=st.integers(1, 300), count=st.integers(1, 300))
def test_evenly_spaced_blocks_are_distinct_ordered_and_centred(available, count):
    chosen = tokens.choose_blocks(torch.arange(available)[:, None], count, "evenly-spaced")[:, 0]
    assert len(chosen) == min(available, count)
    gaps = chosen.diff()
    assert (gaps > 0).all()
    if len(gaps):
        assert int(gaps.max() - gaps.min()) <= 1
    # as much text before the first block as after the last, up to rounding
    assert abs(int(chosen[0]) - (available - 1 - int(chosen[-1]))) <= 1


@given(available=st.integers(1, 50), count=st.one_of(st.none(), st.integers(1, 60)))
def test_first_blocks_are_a_prefix(available, count):
    blocks = torch.arange(available)[:, None]
    assert torch.equal(tokens.choose_blocks(blocks, count, "first"), blocks[:count])


def test_hash_is_of_little_endian_32_bit_integers():
    ids = torch.tensor([[1, 2], [3, 70_000]])
    assert tokens.sha256_of_ids(ids) == sha256(struct.pack("<4i", 1, 2, 3, 70_000)).hexdigest()


def joined(documents, tokenizer, **changes):
    settings = {
        "name": "text",
        "split": "test",
        "join": "\n\n",
        "context_tokens": 4,
        "count": None,
        "choice": "evenly-spaced",
    }
    return tokens.joined_blocks(documents, tokenizer, **(settings | changes))


def test_documents_are_joined_and_tokenized_once(plain, with_bos):
    made = joined(["abc", "defgh"], plain)
    assert plain.decode(made.ids.flatten()) == "abc\n\ndef"
    assert made.protocol == r"text-test/4x2/all/bos=none/join=\n\n"
    made = joined(["abc", "defgh"], with_bos, join=" ")
    # the one <s> stands at the very beginning: neither at a document's nor at a block's
    assert [with_bos.decode(row) for row in made.ids] == ["<s>abc", " def"]
    assert made.protocol == "text-test/4x2/all/bos=once/join=space"


def test_label_tells_a_choice_from_all(plain):
    assert "/4x2/evenly-spaced/" in joined(["abcdefghijklm"], plain, count=2).protocol
    assert "/4x3/all/" in joined(["abcdefghijklm"], plain, count=3).protocol
    assert "/4x1/first/" in joined(["abcdefghijklm"], plain, count=1, choice="first").protocol


def test_text_shorter_than_a_block_is_refused(plain):
    assert joined(["abcd"], plain).ids.shape == (1, 4)
    with pytest.raises(
        RadioError, match=r"data=text split test has 3 tokens, fewer than one block"
    ):
        joined(["abc"], plain)
    with pytest.raises(RadioError, match=r"data\.choice=last is unknown: choose evenly-spaced or"):
        joined(["abcd"], plain, choice="last")


GOOD = {"calibration": 1, "validation": None, "test": 2}


@pytest.mark.parametrize(
    "context, blocks, sentence",
    [
        (1, GOOD, r"data\.context_tokens=1 of data=text"),
        ("many", GOOD, r"data\.context_tokens=many"),
        (4, GOOD | {"test": 0}, r"data\.blocks\.test=0"),
        (4, GOOD | {"test": -3}, r"data\.blocks\.test=-3"),
        (4, GOOD | {"validation": "all"}, r"data\.blocks\.validation=all"),
        (4, {"test": 3}, "give exactly calibration, validation, test"),
        (4, GOOD | {"train": 3}, "give exactly calibration, validation, test"),
    ],
)
def test_impossible_sizes_are_refused(context, blocks, sentence):
    tokens.check_sizes("text", 4, GOOD)
    with pytest.raises(RadioError, match=sentence):
        tokens.check_sizes("text", context, blocks)


def test_shared_blocks_are_found():
    one, other = blocks_of([[1, 2], [3, 4]]), blocks_of([[5, 6], [3, 4]])
    tokens.check_disjoint({"calibration": one, "test": blocks_of([[3, 5], [4, 3]])})
    with pytest.raises(RadioError, match="calibration and test of text share 1 blocks and 0 doc"):
        tokens.check_disjoint({"calibration": one, "test": other})


def test_shared_documents_are_found_though_no_block_is_equal():
    long, short = "a" * tokens.IDENTIFYING_CHARACTERS, "a heading"
    one = blocks_of([[1, 2]], documents=[long, short])
    tokens.check_disjoint({"calibration": one, "test": blocks_of([[3, 4]], documents=[short])})
    with pytest.raises(RadioError, match="validation and test of text share 0 blocks and 1 doc"):
        tokens.check_disjoint(
            {"validation": one, "test": blocks_of([[3, 4]], documents=["b" * 300, long])}
        )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "text.safetensors"
    splits = {
        "calibration": blocks_of([[1, 2], [3, 70_000]], documents=["a" * 300]),
        "test": blocks_of([[7, 8]]),
    }
    tokens.save_token_splits(path, splits)
    return path, splits


def test_round_trip(saved):
    path, splits = saved
    for split, blocks in splits.items():
        found = tokens.load_token_sequences(path, split)
        assert torch.equal(found.ids, blocks.ids)
        assert found.ids.dtype == torch.int64
        assert (found.protocol, found.sha256) == (blocks.protocol, blocks.sha256)
        assert found.documents == blocks.documents


def test_same_blocks_give_the_same_bytes(saved, tmp_path):
    path, splits = saved
    tokens.save_token_splits(tmp_path / "again.safetensors", splits)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_damaged_files_are_refused(saved):
    path, splits = saved
    with pytest.raises(RadioError, match="has no split train: choose one of calibration, test"):
        tokens.load_token_sequences(path, "train")
    whole = path.read_bytes()
    last = len(whole) - 1
    path.write_bytes(whole[:last] + bytes([whole[last] ^ 1]))
    with pytest.raises(RadioError, match="is corrupt"):
        # the last bytes are of the split that is stored last
        [tokens.load_token_sequences(path, split) for split in splits]
    path.write_bytes(whole[:-3])
    with pytest.raises(RadioError, match="corrupt"):
        tokens.load_token_sequences(path, "test")
    path.unlink()
    with pytest.raises(RadioError, match="does not exist"):
        tokens.load_token_sequences(path, "test")


def test_token_blocks_need_no_documents():
    assert TokenSequences(torch.zeros(1, 2, dtype=torch.int64), "p", "h").documents == ()


def test_spaced_blocks_are_evenly_spaced_and_say_so():
    ids = torch.arange(24)[:, None].expand(24, 3).contiguous()
    blocks = TokenSequences(ids, "label", sha256_of_ids(ids))
    few = blocks.spaced(13)
    assert len(few.ids) == 13
    steps = few.ids[:, 0].diff()
    assert few.ids[0, 0] == 0 and set(steps.tolist()) == {1, 2} and few.ids[-1, 0] == 22
    assert few.protocol == "label/13 of 24 blocks" and few.sha256 == sha256_of_ids(few.ids)
    assert torch.equal(blocks.spaced(99).ids, ids)
    with pytest.raises(RadioError, match="validation_blocks=0"):
        blocks.spaced(0)
