"""opt-nano learns, is the same every time, and survives being killed."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from radio.models import decoder_linears, family_of, load_model, load_tokenizer, train
from radio.models.spec import TrainedSource
from radio.models.train import perplexity, train_opt_nano
from radio.runtime.errors import RadioError

SENTENCES = [
    "The river flows from the mountains to the sea, and the sea is wide and deep.",
    "In the old town the market opens early, and the bread is sold before noon.",
]
TEXTS = [" ".join([sentence] * 12) for sentence in SENTENCES] * 2
VALIDATION = [" ".join(SENTENCES * 6)]
SETTINGS = TrainedSource(
    vocabulary=300,
    layers=2,
    width=32,
    ffn=64,
    heads=2,
    context=32,
    dropout=0.1,
    batch=4,
    steps=12,
    warmup=2,
    learning_rate=1e-2,
    weight_decay=0.1,
    validate_every=4,
    seed=7,
)


class KilledError(Exception):
    """Stands for the end of the process in the middle of a run."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the run when it is about to do `step`."""
    update = train._update

    def killed(run, settings, ids, now):  # type: ignore[no-untyped-def]
        if now == step:
            raise KilledError
        update(run, settings, ids, now)

    monkeypatch.setattr(train, "_update", killed)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run."""
    out = tmp_path_factory.mktemp("run") / "checkpoint"
    train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    return out


def test_learns_and_reports_what_is_stored(tmp_path: Path) -> None:
    out = tmp_path / "checkpoint"
    trained = train_opt_nano(TEXTS, VALIDATION, dataclasses.replace(SETTINGS, steps=60), out)
    model = load_model(out)
    tokenizer = load_tokenizer(out)
    ids = torch.tensor(tokenizer(VALIDATION[0])["input_ids"])
    assert perplexity(model, ids, 32) == pytest.approx(trained.validation_perplexity, rel=1e-6)
    # a model that knows nothing is at the size of the vocabulary
    assert trained.validation_perplexity < 0.2 * len(tokenizer)


def test_checkpoint_is_an_ordinary_float16_opt(finished: Path) -> None:
    assert family_of(finished) == "opt"
    weights = load_file(finished / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    model = load_model(finished)
    assert all(layer.bias is not None for layer in decoder_linears(model).values())
    assert model.config.activation_function == "relu"
    tokenizer = load_tokenizer(finished)
    assert tokenizer.bos_token_id == tokenizer.eos_token_id == model.config.bos_token_id
    text = "The river, naïve and 50 % wide."
    ids = tokenizer.encode(text)
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == text


def test_same_seed_same_bytes_other_seed_other_bytes(finished: Path, tmp_path: Path) -> None:
    train_opt_nano(TEXTS, VALIDATION, SETTINGS, tmp_path / "again")
    train_opt_nano(
        TEXTS, VALIDATION, dataclasses.replace(SETTINGS, seed=8), tmp_path / "other seed"
    )
    weights = [path / "model.safetensors" for path in (finished, tmp_path / "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert (tmp_path / "other seed" / "model.safetensors").read_bytes() != weights[0].read_bytes()


@pytest.mark.parametrize("step", [2, 6, 8, 11])
def test_killed_run_ends_in_the_same_bytes(
    step: int, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "checkpoint"
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at(step, patch)
        train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    assert not out.exists()
    assert (tmp_path / "checkpoint.partial").exists() == (step > 4)

    # the second life must not start from the beginning
    first = step // SETTINGS.validate_every * SETTINGS.validate_every
    seen: list[int] = []
    update = train._update
    monkeypatch.setattr(
        train, "_update", lambda run, s, ids, now: (seen.append(now), update(run, s, ids, now))
    )
    train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    assert seen == list(range(first, SETTINGS.steps))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    for name in ("model.safetensors", "tokenizer.json", "training.json"):
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize("damage", ["garbage", "other recipe", "truncated"])
def test_useless_state_is_not_used(
    damage: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, state = tmp_path / "checkpoint", tmp_path / "checkpoint.partial"
    settings = dataclasses.replace(SETTINGS, seed=8) if damage == "other recipe" else SETTINGS
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill_at(6, patch)
        train_opt_nano(TEXTS, VALIDATION, settings, out)
    if damage == "garbage":
        state.write_bytes(b"garbage")
    if damage == "truncated":
        state.write_bytes(state.read_bytes()[:-100])
    train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    assert (out / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_finished_training_is_not_repeated(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_at(0, monkeypatch)
    again = train_opt_nano(TEXTS, VALIDATION, SETTINGS, finished)
    assert math.isfinite(again.validation_perplexity)
    with pytest.raises(KilledError):
        train_opt_nano(TEXTS[:3], VALIDATION, SETTINGS, finished)


@pytest.mark.parametrize("killed", [False, True])
def test_best_step_is_kept(killed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose last steps destroy the weights ends in the weights from before."""
    update = train._update
    out = tmp_path / "checkpoint"

    def ruin(run, settings, ids, now):  # type: ignore[no-untyped-def]
        update(run, settings, ids, now)
        if now >= 8:
            torch.nn.init.normal_(run.model.model.decoder.layers[0].fc1.weight, std=100.0)

    monkeypatch.setattr(train, "_update", ruin)
    if killed:
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            kill_at(9, patch)
            train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    trained = train_opt_nano(TEXTS, VALIDATION, SETTINGS, out)
    assert trained.step == 8
    weights = load_file(out / "model.safetensors")
    assert max(float(weight.abs().max()) for weight in weights.values()) < 10


def test_text_shorter_than_a_context(tmp_path: Path) -> None:
    for texts, validation, which in (
        (["short"], VALIDATION, "training"),
        (TEXTS, [], "validation"),
    ):
        with pytest.raises(RadioError, match=f"the {which} text has .* give a longer text"):
            train_opt_nano(texts, validation, SETTINGS, tmp_path / "checkpoint")
    assert not list(tmp_path.iterdir())


def test_divergence_is_one_sentence(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30)
    with pytest.raises(
        RadioError, match=r"training diverged .* lower model\.source\.learning_rate"
    ):
        train_opt_nano(TEXTS, VALIDATION, settings, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
