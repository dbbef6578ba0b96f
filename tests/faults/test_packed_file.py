"""Packed files whose checksums are right and whose content is not: each field has its refusal."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from radio.pack.bits import pack, unpack
from radio.pack.file import load_quantized, map_quantized
from radio.pack.header import SHARED
from radio.pack.hf.directory import write_packed
from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors
from tests.faults.packed import Damage, Metadata, Tensors, damaged, packed_file

LAYER = "model.layers.0.self_attn.q_proj"
METHODS = ("fp16", "rtn-g", "owq", "radio", "radio-bytes", "radio-learned")
DRAWN = 25


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that returns the whole file of a method, made once."""
    made: dict[str, Path] = {}

    def of(method: str) -> Path:
        if method not in made:
            made[method] = packed_file(tmp_path_factory.mktemp(method), method)
        return made[method]

    return of


def tensor(key: str, change: Callable[[Tensor], Tensor]) -> Damage:
    """Change one of the layer's tensors, or one that layers share."""

    def damage(tensors: Tensors, _: Metadata) -> None:
        name = key if key in tensors else f"{LAYER}.{key}"
        tensors[name] = change(tensors[name])

    return damage


def added(key: str, value: Tensor) -> Damage:
    """Add a tensor to the file."""
    return lambda tensors, _: tensors.update({key: value})


def lost(key: str) -> Damage:
    """Take one of the layer's tensors out of the file and out of the layer's list."""

    def damage(tensors: Tensors, metadata: Metadata) -> None:
        del tensors[f"{LAYER}.{key}"]
        metadata["layers"][LAYER]["tensors"].remove(key)

    return damage


def gone(key: str) -> Damage:
    """Take one of the layer's tensors out of the file alone."""
    return lambda tensors, _: tensors.__delitem__(f"{LAYER}.{key}")


def header(key: str, value: Any) -> Damage:
    """Change what the header says of the layer."""
    return lambda _, metadata: metadata["layers"][LAYER].update({key: value})


def field(key: str, value: Any) -> Damage:
    """Change a field of the layer's codec."""
    return lambda _, metadata: metadata["layers"][LAYER]["fields"].update({key: value})


def without(key: str) -> Damage:
    """Take a field of the layer's codec away."""
    return lambda _, metadata: metadata["layers"][LAYER]["fields"].pop(key)


def put(value: float, place: int = 0) -> Callable[[Tensor], Tensor]:
    """Overwrite one number of a tensor."""

    def change(tensor: Tensor) -> Tensor:
        tensor.view(-1)[place] = value
        return tensor

    return change


def shorter(tensor: Tensor) -> Tensor:
    return tensor[:-1].clone()


def longer(tensor: Tensor) -> Tensor:
    return torch.cat([tensor, tensor[-1:]])


def scalar(tensor: Tensor) -> Tensor:
    return tensor.flatten()[:1].clone()


def deeper(packed: Tensor) -> Tensor:
    """Depths with one more than there is, at a place that is not the first."""
    depths = unpack(packed, 4, 2 * len(packed))
    depths[7] = 9
    return pack(depths, 4)


ALL = (
    ("codec", header("codec", "huffman")),
    ("codec", header("codec", None)),
    ("codec", header("codec", ["affine"])),
    ("shape", header("shape", [0, 64])),
    ("shape", header("shape", [64, 0])),
    ("shape", header("shape", [-64, -64])),
    ("shape", header("shape", [64])),
    ("shape", header("shape", [64, 64, 1])),
    ("shape", header("shape", "64 x 64")),
    ("shape", header("shape", [64.0, 64])),
    ("shape", header("shape", [True, 64])),
    ("shape", header("shape", [64, 2**62])),
    ("fields", header("fields", None)),
    ("tensors", header("tensors", "weight")),
    ("tensors", header("tensors", [1])),
    ("extra", header("extra", 1)),
    ("bias_added", header("bias_added", 1)),
    ("more", field("more", 1)),
    ("weight", gone("weight")),
    ("weight", lost("weight")),
    ("weight", tensor("weight", lambda codes: codes.to(torch.int64))),
    (f"{LAYER}.more", added(f"{LAYER}.more", torch.ones(1))),
    (f"{SHARED}more", added(f"{SHARED}more", torch.ones(1))),
    ("model.norm.weight", tensor("model.norm.weight", put(torch.inf))),
    ("model.norm.weight", tensor("model.norm.weight", put(torch.nan))),
    ("model.norm.weight", tensor("model.norm.weight", lambda norm: norm.long())),
)
CODED = (
    ("shape", field("shape", [32, 64])),
    ("shape", field("shape", None)),
    ("shape", without("shape")),
    ("weight", tensor("weight", shorter)),
    ("weight", tensor("weight", longer)),
    ("weight", tensor("weight", scalar)),
    ("scale", lost("scale")),
    ("scale", tensor("scale", scalar)),
    ("scale", tensor("scale", lambda scale: scale[None])),
    ("scale", tensor("scale", lambda scale: scale.bool())),
)
FLOAT = (("scale", tensor("scale", put(torch.inf))), ("scale", tensor("scale", put(torch.nan, 3))))
AFFINE = (
    *((("bits", field("bits", value))) for value in (0, 9, -1, 3.0, "3", None, True)),
    *((("group_cols", field("group_cols", value))) for value in (0, -1, 24.0, None, 2**40)),
    ("scale", field("group_cols", 20)),
    ("group_cols", without("group_cols")),
    ("zero", tensor("zero", shorter)),
    ("zero", tensor("zero", lambda zero: zero.half())),
)
COMPANDED = (
    ("depths", tensor("depths", deeper)),
    ("depths", tensor("depths", put(0x0F))),
    ("depths", tensor("depths", put(0xF0))),
    ("depths", tensor("depths", shorter)),
    ("depths", lost("depths")),
    ("weight", tensor("depths", put(0x88))),
    ("cluster", lost("cluster")),
    ("cluster", tensor("cluster", shorter)),
    ("location", tensor("location", scalar)),
    ("scale", tensor("location", lambda line: line[:1].clone())),
    ("location", tensor("location", lambda line: line[:0].clone())),
    ("scale_bits", field("scale_bits", 12)),
    ("scale_bits", field("scale_bits", "8")),
    ("bias", tensor("bias", put(torch.nan))),
    ("bias", tensor("bias", scalar)),
    ("bias_added", lost("bias")),
)
OWQ = (
    ("columns", tensor("columns", put(64))),
    ("columns", tensor("columns", put(65535))),
    ("columns", tensor("columns", lambda columns: columns.roll(1)[:1].repeat(len(columns)))),
    ("columns", tensor("columns", shorter)),
    ("columns", lost("columns")),
    ("kept", tensor("kept", shorter)),
    ("kept", tensor("kept", put(torch.nan))),
    ("kept", lost("kept")),
)
LEARNED = (
    ("codebook", lambda tensors, _: tensors.pop(f"{SHARED}codebook")),
    ("codebook", tensor(f"{SHARED}codebook", shorter)),
    ("codebook", tensor(f"{SHARED}codebook", put(torch.nan))),
)
CASES = {
    "fp16": ALL,
    "rtn-g": (*ALL, *CODED, *FLOAT, *AFFINE),
    "owq": (*ALL, *CODED, *FLOAT, *AFFINE, *OWQ),
    "radio": (*ALL, *CODED, *FLOAT, *COMPANDED),
    "radio-bytes": (*CODED, *COMPANDED, ("location", field("scale_bits", 16))),
    "radio-learned": LEARNED,
}


@pytest.mark.parametrize("method", CASES)
def test_each_field_has_its_refusal(whole, method, tmp_path):
    """The sentence names the file, the layer and the field; whoever reads the file is refused."""
    for place, (named, damage) in enumerate(CASES[method]):
        path = damaged(whole(method), tmp_path / f"{place}.safetensors", damage)
        for read in (load_quantized, map_quantized):
            with pytest.raises(RadioError, match="delete it and run again") as refusal:
                read(path)
        sentence = str(refusal.value)
        assert str(path) in sentence and named in sentence, (place, sentence)
        assert "model." in sentence or SHARED in sentence, sentence
        with pytest.raises(RadioError):
            write_packed(tmp_path / "out", path, whole(method).parent / "model", {"measured": {}})
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_none_is_refused(tmp_path):
    """With two clusters every index of one bit is right, with three one of two bits is not."""
    from radio.pack.codecs import Companded
    from tests.pack.test_codecs import random_companded

    coded = random_companded(0, rows=12, cols=8, clusters=3)
    tensors = coded.to_tensors()
    Companded.check(tensors, coded.fields(), (12, 8))
    wrong = coded.cluster.clone()
    wrong[5] = 3
    with pytest.raises(ValueError, match="cluster has an index of 3, and there are 3"):
        Companded.check(tensors | {"cluster": pack(wrong, 2)}, coded.fields(), (12, 8))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_written_is_accepted(whole, method):
    quantized = load_quantized(whole(method))
    assert all(layer.weight.decode().isfinite().all() for layer in quantized.layers.values())


@pytest.mark.parametrize(
    "metadata",
    [{}, {"layers": {}}, {"format_version": 3}, {"format_version": 3, "layers": []}],
    ids=str,
)
def test_a_file_of_another_kind_is_refused(metadata, tmp_path):
    save_tensors(tmp_path / "q.safetensors", {"a": torch.ones(2)}, metadata)
    with pytest.raises(RadioError, match=r"q\.safetensors (has format_version|is damaged)"):
        load_quantized(tmp_path / "q.safetensors")


def test_old_files_are_refused(whole, tmp_path):
    """Of version 2, and of before there were checksums."""
    tensors, metadata = load_tensors(whole("rtn-g"))
    save_tensors(tmp_path / "2", tensors, metadata | {"format_version": 2})
    with pytest.raises(RadioError, match="format_version=2, this radio reads 3: quantize again"):
        load_quantized(tmp_path / "2")
    save_file(tensors, tmp_path / "1", metadata={"radio": json.dumps(metadata)})
    with pytest.raises(RadioError, match="of an old version of radio, which wrote no checksums"):
        load_quantized(tmp_path / "1")


def raw(header: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + payload


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b"{}",
        raw(b"[]"),
        raw(b"{" * 100_000),
        raw(b'{"__metadata__":{"radio":1}}'),
        raw(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4),
        raw(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},' * 2, b"\0"),
        raw(
            b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},'
            b'"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}',
            b"\0" * 3,
        ),
        raw(b'{"a":{"dtype":"U8","shape":[18446744073709551615,2],"data_offsets":[0,1]}}', b"\0"),
    ],
)
def test_a_header_that_is_none_is_refused(content, tmp_path):
    (tmp_path / "q.safetensors").write_bytes(content)
    with pytest.raises(RadioError, match=r"q\.safetensors is corrupt or not a radio artifact"):
        load_quantized(tmp_path / "q.safetensors")


def test_a_name_that_is_there_twice_is_refused(whole, tmp_path):
    """The second entry is another tensor's, of the same kind and shape."""
    content = whole("rtn-g").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    known = json.loads(content[8 : 8 + length])
    again = json.dumps({f"{LAYER}.scale": known[LAYER.replace("q_proj", "o_proj") + ".scale"]})
    header = content[8 : 8 + length].rstrip()[:-1] + b"," + again[1:].encode()
    (tmp_path / "q.safetensors").write_bytes(raw(header, content[8 + length :]))
    with pytest.raises(RadioError, match="is corrupt"):
        load_quantized(tmp_path / "q.safetensors")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(RadioError, match=str(tmp_path)):
        load_quantized(tmp_path)


def drawn_damage(draw: random.Random) -> Damage:
    """Return random damage to a tensor or to the metadata."""

    def damage(tensors: Tensors, metadata: Metadata) -> None:
        if draw.random() < 0.5:
            name = draw.choice(sorted(tensors))
            tensors[name] = draw.choice([flipped, reshaped, retyped])(tensors[name], draw)
            return
        holder, key = draw.choice(list(nodes(metadata)))
        if draw.random() < 0.3:
            del holder[key]
        else:
            holder[key] = draw.choice(VALUES)

    return damage


VALUES = (None, True, 0, 1, -1, 2, 7, 9, 16, 63, 10**30, 0.5, "", "affine", "weight", [], [1], {})


def flipped(tensor: Tensor, draw: random.Random) -> Tensor:
    if not tensor.numel():
        return torch.ones(1)
    tensor = tensor.contiguous()
    place = tensor.view(torch.uint8).view(-1)
    place[draw.randrange(len(place))] ^= 1 << draw.randrange(8)
    return tensor


def reshaped(tensor: Tensor, draw: random.Random) -> Tensor:
    flat = tensor.flatten()
    return draw.choice([flat[:-1], flat[:1], flat[:0], flat[None], torch.cat([flat, flat])]).clone()


def retyped(tensor: Tensor, draw: random.Random) -> Tensor:
    kinds = (torch.uint8, torch.int8, torch.int64, torch.float16, torch.float64, torch.bool)
    return tensor.to(draw.choice(kinds))


def nodes(content: Any):
    """Yield (holder, key) of every value in a JSON object."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in list(keys):
        yield content, key
        if isinstance(content[key], dict | list):
            yield from nodes(content[key])


def outcome(path: Path, out: Path, damage: Damage) -> str:
    """Return "refused", or "sound" if all that the file says can be used."""
    try:
        quantized = load_quantized(damaged(path, out, damage))
    except RadioError:
        return "refused"
    for layer in quantized.layers.values():
        weight = layer.weight.decode()
        assert weight.shape == layer.weight.shape and weight.isfinite().all()
        assert layer.bias is None or layer.bias.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in quantized.rest.values())
    assert quantized.bpw() >= 0 and quantized.weights() >= 0
    return "sound"


@pytest.mark.parametrize("method", METHODS)
def test_random_damage_is_refused_or_sound(whole, method, tmp_path):
    """Checksums are of the damaged content: a changed code is another code, and all is finite."""
    draw = random.Random(method)
    found = [
        outcome(whole(method), tmp_path / "q.safetensors", drawn_damage(draw)) for _ in range(DRAWN)
    ]
    assert "refused" in found
