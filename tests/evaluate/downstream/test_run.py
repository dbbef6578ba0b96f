"""A killed run resumes at its current task, and never with results of another model."""

import pytest

from radio.evaluate.downstream import run
from radio.evaluate.downstream.run import run_tasks
from radio.evaluate.downstream.tasks import load_items, save_items
from radio.runtime.errors import RadioError
from tests.tiny import state_in


@pytest.fixture
def ran(monkeypatch):
    """Record the names of the tasks that were run; the second one is killed once."""
    names, original = [], run.run_task

    def watched(lm, task, loaded):
        names.append(task.name)
        if names == ["next_sentence", "last_word"]:
            raise KeyboardInterrupt
        return original(lm, task, loaded)

    monkeypatch.setattr(run, "run_task", watched)
    return names


def test_finished_tasks_are_not_rerun(model, tokenizer, items, tasks, ran, tmp_path):
    state = state_in(tmp_path)
    arguments = (tokenizer, tasks, items, 8, 0)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(model, *arguments, state)
    resumed = run_tasks(model, *arguments, state)
    assert ran == ["next_sentence", "last_word", "last_word"]
    state.remove()
    whole = run_tasks(model, *arguments, state)
    assert list(resumed) == ["next_sentence", "last_word"]
    for name in whole:
        assert resumed[name].values == whole[name].values
        assert resumed[name].items_sha256 == whole[name].items_sha256


def test_a_partial_run_of_another_job_is_ignored(model, tokenizer, items, tasks, ran, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run_tasks(model, tokenizer, tasks, items, 8, 0, state_in(tmp_path))
    run_tasks(model, tokenizer, tasks, items, 8, 0, state_in(tmp_path, "another"))
    assert ran[2:] == ["next_sentence", "last_word"]


def test_missing_items_are_refused(model, tokenizer, tasks, items, tmp_path):
    with pytest.raises(RadioError, match=r"has no items of next_sentence"):
        run_tasks(
            model, tokenizer, tasks, {"last_word": items["last_word"]}, 8, 0, state_in(tmp_path)
        )


def test_a_file_of_items(items, tmp_path):
    save_items(tmp_path / "items.jsonl", items)
    assert load_items(tmp_path / "items.jsonl") == items
    (tmp_path / "bad.jsonl").write_text('{"context": "x"}')
    for name in ("absent", "bad"):
        with pytest.raises(RadioError, match=rf"{name}\.jsonl cannot be read"):
            load_items(tmp_path / f"{name}.jsonl")
