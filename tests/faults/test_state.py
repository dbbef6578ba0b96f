"""The state of a killed job is used if nothing changed, and otherwise the job starts over."""

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from radio.cli import main
from radio.data.tokens import hashed_blocks, save_token_splits
from radio.evaluate.downstream.from_text import last_word_items, next_sentence_items
from radio.evaluate.downstream.tasks import save_items
from radio.models.spec import TrainedSource
from radio.models.train import train_opt_nano
from radio.runtime.compose import PACKAGE
from radio.runtime.files import write_json
from radio.runtime.fingerprint import code_digest, step_code_digest
from radio.runtime.state import StateStore
from tests.evaluate.downstream.made_up import documents
from tests.manifests import manifest_of
from tests.tiny import tiny_llama

JOBS = ("calibrate", "refine", "target", "downstream", "quantize", "train")
# a module that decides the numbers of the job
CODE = {
    "calibrate": "theory/grouping.py",
    "refine": "paper_loop/gradients.py",
    "target": "evaluate/perplexity.py",
    "downstream": "evaluate/downstream/harness.py",
    "quantize": "quantize/methods/gptq.py",
    "train": "models/train_tokenizer.py",
}
# times that the job saves before it is killed
SAVES = {"downstream": 1}
TRAINING = TrainedSource(
    *(300, 1, 16, 32, 2, 16, 0.1),  # vocabulary, layers, width, ffn, heads, context, dropout
    **{"batch": 2, "steps": 6, "warmup": 2, "learning_rate": 1e-2, "weight_decay": 0.1},
    validate_every=2,
    seed=7,
)
SETTINGS = {
    "calibrate": "calibration.estimator.sequences=4 calibration.estimator.pilot_sequences=1",
    "refine": "rate_bits=3 refinement.estimator.sequences=2 refinement.estimator.batch=2 "
    "refinement.estimator.iterations=2 refinement.estimator.tokens=3",
    "target": "target.kl=0.01 tolerance=0.5 validation_blocks=2",
    "downstream": "artifacts.task_items={folder}/items.jsonl",
    "quantize": "method=gptq rate_bits=3 method.inputs.sequences=2 streaming=true",
}


class Killed(BaseException):
    """Stands for the end of the process."""


def tokens(folder: Path, seed: int) -> None:
    """Write a text of random tokens."""
    draw = torch.Generator().manual_seed(seed)
    splits = {
        name: hashed_blocks(torch.randint(2, 300, (4, 16), generator=draw), name, [])
        for name in ("calibration", "validation", "test")
    }
    save_token_splits(folder / "tokens.safetensors", splits)
    manifest_of(folder / "tokens.safetensors", "tokenize")


def items(folder: Path, count: int) -> None:
    """Write items of the local tasks."""
    made = {
        "next_sentence": next_sentence_items(documents(), count, seed=0),
        "last_word": last_word_items(documents(), count, seed=0),
    }
    save_items(folder / "items.jsonl", made)
    manifest_of(folder / "items.jsonl", "items")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint and all that the jobs read."""
    folder = tmp_path_factory.mktemp("inputs")
    narrow = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    tiny_llama(folder / "model", **narrow, max_position_embeddings=1024, initializer_range=0.3)
    prepare(folder)
    tokens(folder, 1)
    items(folder, 3)
    assert run("calibrate", folder, name="statistics") == 0
    return folder


def prepare(folder: Path) -> None:
    write_json(folder / "model.json", {"measured": {"path": str(folder / "model")}, "wall_s": 0.0})


def output(job: str, folder: Path, name: str = "out") -> Path:
    suffix = {"target": ".json", "downstream": ".csv", "train": ""}.get(job, ".safetensors")
    return folder / f"{name}{suffix}"


def run(job: str, folder: Path, *overrides: str, name: str = "out") -> int:
    """Run a job; returns its exit status."""
    out = output(job, folder, name)
    if job == "train":
        texts = [path.read_text() for path in sorted(folder.glob("*.jsonl"))]
        seed = 8 if overrides else 7
        train_opt_nano(texts, texts, TrainedSource(**{**vars(TRAINING), "seed": seed}), out)
        return 0
    words = SETTINGS[job].format(folder=folder).split()
    words += [f"artifacts.model={folder}/model.json", "model.group_rows=8", f"out={out}"]
    if job != "downstream":
        words.append(f"artifacts.tokens={folder}/tokens.safetensors")
    if job == "target":
        words.append(f"artifacts.statistics={folder}/statistics.safetensors")
    return main([job, *words, *overrides])


def result(job: str, folder: Path) -> object:
    """What the job made, without times."""
    out = output(job, folder)
    if job == "target":
        return json.loads(out.read_text())["measured"]
    return (out / "model.safetensors" if job == "train" else out).read_bytes()


class Runs:
    """Each job once whole and once killed after it has saved its state, when first asked for."""

    def __init__(self, inputs: Path, folder: Path) -> None:
        self.inputs, self.folder = inputs, folder
        self.wholes: dict[str, object] = {}
        self.killed_folders: dict[str, Path] = {}

    def whole(self, job: str) -> object:
        """The result of the job when it is not killed."""
        if job not in self.wholes:
            folder = copied(self.inputs, self.folder / f"whole-{job}")
            assert run(job, folder) == 0
            self.wholes[job] = result(job, folder)
        return self.wholes[job]

    def killed(self, job: str, folder: Path) -> Path:
        """Fill `folder` with the inputs and the state that the killed job left."""
        if job not in self.killed_folders:
            self.killed_folders[job] = copied(self.inputs, self.folder / f"killed-{job}")
            kill(job, self.killed_folders[job])
        return copied(self.killed_folders[job], folder)


def copied(inputs: Path, folder: Path) -> Path:
    shutil.copytree(inputs, folder)
    prepare(folder)
    return folder


@pytest.fixture(scope="module")
def runs(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(inputs, tmp_path_factory.mktemp("runs"))


def kill(job: str, folder: Path) -> None:
    """Run the job until it has saved its state."""
    real, saved = StateStore.save, []

    def save(self: StateStore, *given: object) -> None:
        real(self, *given)  # type: ignore[arg-type]
        saved.append(self.path)
        if len(saved) == SAVES.get(job, 2):
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radio.calibrate.random_sign.SAVE_EVERY_S", 0.0)
        patch.setattr("radio.paper_loop.loop.SAVE_EVERY_S", 0.0)
        patch.setattr(StateStore, "save", save)
        with pytest.raises(Killed):
            run(job, folder)
    assert not output(job, folder).exists()


def states(job: str, folder: Path) -> list[Path]:
    """Files of the state of the job."""
    name = output(job, folder).name
    return [*folder.glob(f"{name}.partial"), *folder.glob(f"{name}.parts/*")]


def damage(path: Path, kind: str) -> None:
    """Damage a file."""
    content = bytearray(path.read_bytes())
    if kind == "a flipped bit":
        content[-1] ^= 1
    elif kind == "truncated":
        del content[len(content) // 2 :]
    elif kind == "no header":
        content[:16] = bytes(16)
    elif kind == "empty":
        content.clear()
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["whole", "a flipped bit"])
@pytest.mark.parametrize("job", JOBS)
def test_a_job_resumes_to_the_same_bytes(
    job: str, kind: str, runs: Runs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From a damaged state by starting over."""
    folder = runs.killed(job, tmp_path / "again")
    files = states(job, folder)
    assert files
    for file in files:
        damage(file, kind)
    caplog.set_level(logging.WARNING, "radio.runtime.state")
    assert run(job, folder) == 0
    assert result(job, folder) == runs.whole(job)
    told = [record.message for record in caplog.records if "is damaged" in record.message]
    assert bool(told) == (kind != "whole")
    assert not states(job, folder) and not list(folder.glob("*.parts"))


@pytest.mark.parametrize(
    "kind, reason",
    [
        ("a flipped bit", "is damaged"),
        ("truncated", "is damaged"),
        ("no header", "is damaged"),
        ("empty", "is damaged"),
        ("of another key", "is of other settings, inputs or code"),
    ],
)
def test_a_state_that_is_of_no_use_is_removed_in_one_line(
    kind: str, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = "another" if kind == "of another key" else "key"
    StateStore(tmp_path / "state", key).save({"x": torch.ones(9)}, {"done": 1})
    damage(tmp_path / "state", kind)
    state = StateStore(tmp_path / "state", "key")
    caplog.set_level(logging.WARNING, "radio.runtime.state")
    assert state.load() is None and not state.path.exists()
    [record] = caplog.records
    assert reason in record.message and str(state.path) in record.message
    assert state.load() is None and len(caplog.records) == 1


@pytest.mark.parametrize("lost", [0, 1])
def test_a_block_that_is_lost_in_the_middle_is_computed_again(
    lost: int, runs: Runs, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(inputs, tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr("radio.pack.streamed.join_parts", None)
        assert run("quantize", folder) == 1
    (folder / f"out.safetensors.parts/block-{lost:05}.safetensors").write_bytes(b"damaged")
    assert run("quantize", folder) == 0
    assert result("quantize", folder) == runs.whole("quantize")


def swap_rows(folder: Path, name: str) -> None:
    """Swap two values or rows of a tensor: all sums stay."""
    path = folder / "model/model.safetensors"
    weights = load_file(path)
    weights[name][[0, 1]] = weights[name][[1, 0]]
    save_file(weights, path, metadata={"format": "pt"})


def edit_code(job: str, folder: Path) -> None:
    """Change a module that decides the job's numbers."""
    skipped = shutil.ignore_patterns("__pycache__")
    package = shutil.copytree(PACKAGE, folder / "radio", ignore=skipped)
    with (package / CODE[job]).open("a") as file:
        file.write("\nEDITED = True\n")


CHANGES = {
    "code": edit_code,
    "embeddings": lambda job, folder: swap_rows(folder, "model.embed_tokens.weight"),
    "norms": lambda job, folder: swap_rows(folder, "model.norm.weight"),
    "tokens": lambda job, folder: (tokens(folder, 2), items(folder, 4)),
    "settings": lambda job, folder: None,
    "nothing": lambda job, folder: None,
}
CASES = [
    (job, change)
    for job in JOBS
    for change in CHANGES
    if job != "train" or change not in ("embeddings", "norms")
]


@pytest.mark.parametrize("job, change", CASES)
def test_a_state_is_used_only_if_nothing_changed(
    job: str, change: str, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs.killed(job, tmp_path / "again")
    [state, *_] = sorted(states(job, folder))
    CHANGES[change](job, folder)
    if change == "code":
        package = folder / "radio"
        step = partial(step_code_digest, package=package)
        training = partial(code_digest, package=package)
        monkeypatch.setattr("radio.runtime.state.step_code_digest", step)
        monkeypatch.setattr("radio.models.train_state.code_digest", training)
    real = StateStore.load
    found = []

    def load(self: StateStore) -> None:
        found.append(real(self))
        raise Killed

    monkeypatch.setattr(StateStore, "load", load)
    with pytest.raises(Killed):
        run(job, folder, *(["seed=1"] if change == "settings" else []))
    assert (found[0] is not None) == (change == "nothing")
    assert state.exists() == (change == "nothing")
