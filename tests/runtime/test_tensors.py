"""Files of tensors: round trips, and every kind of damage."""

import pytest
import torch
from safetensors.torch import save_file

from radio.runtime.errors import RadioError
from radio.runtime.tensors import load_tensors, save_tensors


def test_tensors_round_trip(tmp_path):
    path = tmp_path / "t.safetensors"
    tensor = torch.arange(6, dtype=torch.int16).reshape(2, 3).T  # not contiguous
    save_tensors(path, {"codes": tensor}, {"bits": 3})
    tensors, metadata = load_tensors(path)
    assert torch.equal(tensors["codes"], tensor)
    assert metadata == {"bits": 3}


def test_equal_tensors_give_equal_bytes(tmp_path):
    tensors = {"a": torch.ones(3), "b": torch.zeros(2)}
    save_tensors(tmp_path / "1", tensors, {"x": 1, "y": 2})
    save_tensors(tmp_path / "2", dict(reversed(tensors.items())), {"y": 2, "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_truncated_tensors_are_one_sentence(tmp_path, keep):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RadioError, match="corrupt or not a radio artifact"):
        load_tensors(path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_every_kind_and_shape_has_its_checksum(tmp_path, dtype, shape):
    save_tensors(tmp_path / "t", {"a": torch.ones(shape, dtype=dtype)}, {})
    tensors, _ = load_tensors(tmp_path / "t")
    assert torch.equal(tensors["a"], torch.ones(shape, dtype=dtype))


def test_an_altered_tensor_is_one_sentence(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.ones(100)}, {})
    path.write_bytes(path.read_bytes()[:-1] + b"\x3e")
    with pytest.raises(RadioError, match=r"the checksum of a tensor does not agree.*delete it"):
        load_tensors(path)


def test_altered_metadata_is_one_sentence(tmp_path):
    path = tmp_path / "t.safetensors"
    save_tensors(path, {"a": torch.ones(1)}, {"bits": 3})
    path.write_bytes(path.read_bytes().replace(b"bits", b"bats"))
    with pytest.raises(RadioError, match="the checksum of the header does not agree"):
        load_tensors(path)


def test_files_of_before_there_were_checksums_are_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "t", metadata={"radio": '{"bits": 3}'})
    with pytest.raises(RadioError, match="of an old version of radio, which wrote no checksums"):
        load_tensors(tmp_path / "t")


def test_tensors_of_others_are_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "t.safetensors")
    with pytest.raises(RadioError, match="not a radio artifact"):
        load_tensors(tmp_path / "t.safetensors")
