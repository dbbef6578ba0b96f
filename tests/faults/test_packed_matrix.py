"""Every way to multiply a packed matrix refuses a damaged one, and none reads past it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from weakref import ref

import jaxtyping
import pytest
import torch

from radio.kernels import cpu, gpu, reference
from radio.kernels.checks import check, checked
from radio.kernels.dispatch import packed_linear, product_of_decoded
from radio.kernels.layout import PackedMatrix, packed_matrix
from radio.runtime.errors import RadioError
from tests.kernels.coded import coded

ROWS, COLS, CLUSTERS = 37, 70, 2


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Arguments are not checked by jaxtyping, which only tests have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def matrix() -> PackedMatrix:
    return packed_matrix(coded(ROWS, COLS, CLUSTERS))


def native(name: str):
    def way(packed: PackedMatrix, inputs: torch.Tensor) -> torch.Tensor:
        compiled = cpu.kernel()
        assert compiled is not None
        return getattr(compiled, name)(inputs, None, packed.rows, packed.tensors())

    return way


WAYS = {
    "compiled": native("product"),
    "compiled-decoded": native("product_of_decoded"),
    "triton": lambda packed, inputs: gpu.product(inputs, packed, None),
    "decoded": lambda packed, inputs: product_of_decoded(inputs, packed, None),
}


def at(name: str, index: object, value: float):
    """Function that writes an entry of a tensor."""

    def damage(packed: PackedMatrix) -> PackedMatrix:
        tensor = getattr(packed, name).clone()
        tensor[index] = value
        return replace(packed, **{name: tensor})

    return damage


def swapped(name: str, change):
    """Function that replaces a tensor."""
    return lambda packed: replace(packed, **{name: change(getattr(packed, name))})


def moved_column(packed: PackedMatrix) -> PackedMatrix:
    """Count a column of the deepest depth as one of the next: codes are then too few."""
    counts = packed.counts.clone()
    counts[0, 8] += counts[0, 1]
    counts[0, 1] = 0
    return replace(packed, counts=counts)


DAMAGES = {
    "no rows": (lambda p: replace(p, rows=0), "rows must be 1 to"),
    "negative rows": (lambda p: replace(p, rows=-1), "rows must be 1 to"),
    "rows beyond 32 bits": (lambda p: replace(p, rows=2**40), "rows must be 1 to"),
    "a row more": (lambda p: replace(p, rows=ROWS + 1), "row must hold every row once"),
    "a row less": (lambda p: replace(p, rows=ROWS - 1), "row must hold every row once"),
    "a row twice": (at("row", (0, 0), 1), "row must hold every row once"),
    "a row too far": (at("row", (0, 0), 2**31 - 1), "row must hold every row once"),
    "a row below -1": (at("row", (0, 0), -2), "row must hold every row once"),
    "a column too far": (at("columns", (0, 0), COLS), "columns of a cluster must be"),
    "a negative column": (at("columns", (1, 0), -1), "columns of a cluster must be"),
    "a column twice": (at("columns", (1, slice(0, 2)), 3), "columns of a cluster must be"),
    "no columns": (
        lambda p: replace(p, **{n: getattr(p, n)[:, :0] for n in ("columns", "scale", "location")}),
        "columns must be 1 to",
    ),
    "no clusters": (swapped("columns", lambda t: t[:0]), "columns must be|there must be a cluster"),
    "a negative count": (at("counts", (0, slice(0, 2)), -1), "counts must not be negative"),
    "counts that overflow": (at("counts", (0, 8), 2**31 - 1), "counts of a cluster must add up"),
    "deeper columns": (moved_column, "words must be as many"),
    "words cut off": (swapped("words", lambda t: t[:-16]), "first_word must rise"),
    "a cluster beyond the words": (at("first_word", 1, 2**62), "first_word must rise"),
    "a cluster before the words": (at("first_word", 1, -64), "first_word must rise"),
    "a cluster of other words": (at("first_word", 1, 16), "words must be as many"),
    "a tile too far": (at("first_tile", -1, 2**31 - 1), "first_tile must rise"),
    "tiles of another cluster": (at("first_tile", 1, 0), "words must be as many"),
    "half a tile": (swapped("row", lambda t: t[:, :8]), "row must be"),
    "few levels": (swapped("levels", lambda t: t[:-1]), "levels must be"),
    "a wide type": (swapped("words", lambda t: t.long()), "words must be"),
    "other memory order": (
        swapped("scale", lambda t: torch.stack([t, t], -1)[..., 0]),
        "scale must be",
    ),
    "a NaN location": (at("location", (0, 3), torch.nan), "location must be finite"),
    "an infinite scale": (at("scale", (1, 3), -torch.inf), "scale must be finite"),
    "a NaN level": (at("levels", 7, torch.nan), "levels must be finite"),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("damage, rule", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_matrix_is_refused(way, damage, rule):
    with pytest.raises(RadioError, match=f"packed matrix: {rule}"):
        way(damage(matrix()), torch.randn(2, COLS))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_written_later_is_checked_again(way):
    packed, inputs = matrix(), torch.randn(2, COLS)
    before = way(packed, inputs)
    column = int(packed.columns[0, 0])
    packed.columns[0, 0] = 2**30
    with pytest.raises(RadioError, match="columns of a cluster"):
        way(packed, inputs)
    packed.columns[0, 0] = column
    assert torch.equal(way(packed, inputs), before)
    packed.row.data = packed.row[:1]  # of which torch keeps no count
    with pytest.raises(RadioError, match="packed matrix"):
        way(packed, inputs)


def test_a_check_keeps_no_matrix_in_memory():
    packed = matrix()
    for way in WAYS.values():
        way(packed, torch.randn(2, COLS))
    tensors = [ref(tensor) for tensor in packed.tensors()]
    del packed
    assert all(tensor() is None for tensor in tensors)


def test_an_unchanged_matrix_is_checked_once(monkeypatch):
    packed = matrix()
    first = checked(packed)
    monkeypatch.setattr("radio.kernels.checks.check", None)
    assert checked(replace(packed)) is first


@pytest.mark.filterwarnings("ignore:invalid value encountered")  # numpy's, of Triton's interpreter
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_inputs_that_are_not_finite_give_outputs_that_are_not(value, dtype):
    coding = coded(ROWS, COLS, CLUSTERS)
    inputs = torch.randn(3, COLS).to(dtype)
    inputs[1, 5] = value
    finite = reference.product(coding, inputs).isfinite()
    assert finite[[0, 2]].all() and not finite[1].any()
    for name, way in WAYS.items():
        assert torch.equal(way(packed_matrix(coding), inputs).isfinite(), finite), name


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "inputs, bias",
    [
        (torch.randn(2, COLS + 1), None),
        (torch.randn(COLS, 2), None),
        (torch.randn(()), None),
        (torch.ones(2, COLS, dtype=torch.int64), None),
        (torch.randn(2, COLS, device="meta"), None),
        (torch.randn(2, COLS), torch.randn(ROWS - 1)),
        (torch.randn(2, COLS), torch.randn(1, ROWS)),
        (torch.randn(2, COLS), torch.randn(ROWS, device="meta")),
    ],
    ids=lambda each: "none" if each is None else f"{each.dtype}{list(each.shape)}{each.device}",
)
def test_inputs_that_do_not_fit_are_refused(monkeypatch, inputs, bias, compiled):
    if not compiled:
        monkeypatch.setattr(cpu, "kernel", lambda: None)
    with pytest.raises(RadioError, match=r"(inputs|bias) (is|are) .* takes"):
        packed_linear(inputs, matrix(), bias)


def test_random_damage_is_refused_or_multiplied_alike():
    """In a process of its own: a crash would be its exit status."""
    command = [sys.executable, "-m", "tests.faults.damaged_matrices", "300", "1"]
    answer = subprocess.run(command, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    counts = ast.literal_eval(answer.stdout)
    assert sum(counts.values()) == 300 and counts["refused"] > counts["multiplied"] > 0


def test_a_sound_matrix_passes():
    for rows, cols, clusters in ((1, 1, 1), (17, 33, 3), (5, 200, 4)):
        check(packed_matrix(coded(rows, cols, clusters)))
