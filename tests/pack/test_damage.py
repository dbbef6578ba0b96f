"""Damage to a quantized file: every truncation and flip is told, and is never a wrong model."""

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from radio.models import load_model
from radio.pack.file import file_bytes, load_coded, load_quantized, save_quantized
from radio.runtime.errors import RadioError
from tests.pack.test_file import METHODS, quantized_by
from tests.tiny import tiny_llama, tiny_opt

FLIPS = 400


@pytest.fixture(scope="module", params=[("rtn-g", tiny_llama), ("radio-learned", tiny_opt)])
def whole(request, tmp_path_factory) -> bytes:
    method, make = request.param
    folder = tmp_path_factory.mktemp("whole")
    model = load_model(make(folder / "model", num_hidden_layers=1))
    save_quantized(folder / "q.safetensors", quantized_by(model, method))
    return (folder / "q.safetensors").read_bytes()


def header_of(whole: bytes) -> tuple[int, dict]:
    """Where the payload begins, and the header."""
    (length,) = struct.unpack("<Q", whole[:8])
    return 8 + length, json.loads(whole[8 : 8 + length])


def cuts(whole: bytes) -> Iterator[int]:
    """Tensor boundaries, the bytes about them, and places drawn at random."""
    start, header = header_of(whole)
    edges = {start + o for n, t in header.items() if n[0] != "_" for o in t["data_offsets"]}
    near = {edge + shift for edge in edges for shift in (-1, 0, 1)} | {0, 1, 7, 8, 9, start}
    drawn = {random.randrange(len(whole)) for _ in range(50)}
    yield from sorted(cut for cut in near | drawn if 0 <= cut < len(whole))


def refused(path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        load_quantized(path)
    except RadioError as error:
        assert "delete it and run again" in str(error)
        return True
    return False


def test_truncation_at_every_boundary_is_refused(whole, tmp_path):
    assert not refused(tmp_path / "q", whole)
    for cut in cuts(whole):
        assert refused(tmp_path / "q", whole[:cut]), cut


def test_bytes_behind_the_end_are_refused(whole, tmp_path):
    assert refused(tmp_path / "q", whole + b"\0")


@pytest.mark.parametrize("part", ["length", "header", "payload"])
def test_flipped_bits_are_refused(whole, tmp_path, part):
    start, _ = header_of(whole)
    low, high = {"length": (0, 8), "header": (8, start), "payload": (start, len(whole))}[part]
    # spaces that fill the header up are no part of it
    places = [place for place in range(low, high) if part != "header" or whole[place] != 32]
    for _ in range(FLIPS):
        place, bit = random.choice(places), random.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        assert refused(tmp_path / "q", bytes(damaged)), (place, bit)


def test_a_replaced_byte_of_every_tensor_is_refused(whole, tmp_path):
    start, header = header_of(whole)
    for name, entry in header.items():
        if name != "__metadata__":
            damaged = bytearray(whole)
            damaged[start + entry["data_offsets"][0]] ^= random.randrange(1, 256)
            assert refused(tmp_path / "q", bytes(damaged)), name


def test_swapped_tensors_are_refused(whole, tmp_path):
    """Equal kinds and shapes at each other's place: checksums know names."""
    start, header = header_of(whole)
    names = [name for name in header if name.endswith("_proj.scale")]
    one, two = next(
        (a, b) for a in names for b in names if a < b and header[a]["shape"] == header[b]["shape"]
    )
    entries = header[one]["data_offsets"], header[two]["data_offsets"]
    header[one]["data_offsets"], header[two]["data_offsets"] = reversed(entries)
    text = json.dumps(header, separators=(",", ":")).encode().ljust(start - 8)
    assert len(text) == start - 8
    assert refused(tmp_path / "q", whole[:8] + text + whole[start:])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc")
def test_tensors_are_mapped_and_not_copied(whole, tmp_path):
    (tmp_path / "q").write_bytes(whole)
    tensors, _ = load_coded(tmp_path / "q")
    lines = Path("/proc/self/maps").read_text().splitlines()
    maps = [line for line in lines if line.endswith(str(tmp_path / "q"))]
    spans = [tuple(int(end, 16) for end in line.split()[0].split("-")) for line in maps]
    for tensor in tensors.values():
        place = tensor.data_ptr()
        assert any(low <= place < high for low, high in spans)


@pytest.mark.parametrize("method", METHODS)
def test_the_size_of_a_file_is_never_more_than_was_said(method, tmp_path):
    model = load_model(tiny_llama(tmp_path / "model"))
    quantized = quantized_by(model, method)
    save_quantized(tmp_path / "q", quantized)
    tensors, _ = load_coded(tmp_path / "q")
    there = (tmp_path / "q").stat().st_size
    assert there <= file_bytes(quantized) <= there + 40 * len(tensors)
    assert torch.equal(tensors["model.norm.weight"], quantized.rest["model.norm.weight"])
