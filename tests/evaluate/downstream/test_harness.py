"""lm-eval's values against our own arithmetic; lm-eval's own tasks on invented items."""

from dataclasses import replace

import datasets
import pytest
import torch
from lm_eval import evaluator

from radio.evaluate.downstream.harness import load_tasks, run_task, wrapped
from radio.evaluate.downstream.run import run_tasks
from radio.evaluate.downstream.scores import score
from radio.evaluate.downstream.tasks import Task, tasks_of
from radio.runtime.compose import compose_step
from radio.runtime.errors import RadioError
from tests.data.fake_texts import byte_tokenizer
from tests.pack.hf.conftest import pack
from tests.pack.test_file import quantized_by
from tests.tiny import state_in


@torch.no_grad()
def direct(model, tokenizer, context: str, continuation: str) -> tuple[float, bool]:
    """Return the log-likelihood of a continuation (nats, float64), and whether it is greedy."""
    before, whole = (tokenizer(text)["input_ids"] for text in (context, context + continuation))
    logits = model(input_ids=torch.tensor([whole])).logits[0].double()
    targets = torch.tensor(whole[len(before) :])
    rows = logits[len(before) - 1 : len(whole) - 1].log_softmax(dim=-1)
    result = rows.gather(1, targets[:, None]).sum()
    return float(result), bool((rows.argmax(dim=-1) == targets).all())


@pytest.fixture
def seen(monkeypatch):
    """Return lm-eval's values of every item, by task."""
    samples, original = {}, evaluator.evaluate

    def spy(*arguments, **named):
        result = original(*arguments, **named)
        samples.update(result["samples"])
        return result

    monkeypatch.setattr(evaluator, "evaluate", spy)
    return samples


@pytest.mark.parametrize("kind", ["dense", "packed"])
def test_local_tasks_equal_a_direct_computation(
    kind, model, checkpoint, tokenizer, items, tasks, seen, tmp_path
):
    if kind == "packed":
        from transformers import AutoModelForCausalLM

        created = pack(tmp_path, checkpoint, quantized_by(model, "radio"))
        model = AutoModelForCausalLM.from_pretrained(created.packed, dtype=torch.float32).eval()
    results = run_tasks(model, tokenizer, tasks, items, 8, 0, state_in(tmp_path))

    for item, sample in zip(items["next_sentence"], seen["next_sentence"], strict=True):
        lls = [direct(model, tokenizer, item["context"], f" {c}")[0] for c in item["choices"]]
        result = [response[0] for (response,) in sample["resps"]]
        assert result == pytest.approx(lls, abs=2e-3)
        per_character = [ll / len(c) for ll, c in zip(lls, item["choices"], strict=True)]
        for metric, entry in (("acc", lls), ("acc_norm", per_character)):
            value = results["next_sentence"].values[metric][sample["doc_id"]]
            assert value == (entry.index(max(entry)) == item["label"])

    answers = [
        direct(model, tokenizer, i["context"], f" {i['target']}") for i in items["last_word"]
    ]
    values = results["last_word"].values
    assert values["perplexity"] == pytest.approx([ll for ll, _ in answers], abs=2e-3)
    assert values["acc"] == [float(greedy) for _, greedy in answers]
    assert len(values["acc"]) == len(items["last_word"]) == 50


def test_scores_are_lm_evals(model, tokenizer, items, tasks, tmp_path, monkeypatch):
    answer, original = {}, evaluator.evaluate

    def spy(*arguments, **named):
        result = original(*arguments, **named)
        answer.update(result["results"])
        return result

    monkeypatch.setattr(evaluator, "evaluate", spy)
    results = run_tasks(model, tokenizer, tasks, items, 8, 0, state_in(tmp_path))
    for task in tasks:
        for metric in task.metrics:
            ours = score(metric, results[task.name].values[metric]).value
            assert ours == pytest.approx(answer[task.name][f"{metric},none"])
        result = results[task.name]
        assert (result.version, result.shots, result.bos) == ("1.0", 0, "none")


MADE_UP = {
    "allenai/ai2_arc": [
        {
            "id": f"q{n}",
            "question": f"Which is the number {n}?",
            "choices": {"text": [str(n), str(n + 1)], "label": ["A", "B"]},
            "answerKey": "A",
        }
        for n in range(6)
    ],
    "Rowan/hellaswag": [
        {
            "activity_label": "Counting",
            "ctx_a": f"One counts to {n}.",
            "ctx_b": "then",
            "endings": ["stops.", "goes on.", "sleeps.", "sings."],
            "label": str(n % 4),
        }
        for n in range(6)
    ],
    "baber/piqa": [
        {"goal": f"Count to {n}", "sol1": "Use fingers.", "sol2": "Use water.", "label": n % 2}
        for n in range(6)
    ],
    "allenai/winogrande": [
        {
            "sentence": f"The {n} fits not into the box because the _ is too large.",
            "option1": "number",
            "option2": "box",
            "answer": "1",
        }
        for n in range(6)
    ],
    "openai/gsm8k": [
        {"question": f"What is {n} and {n}?", "answer": f"It is {2 * n}.\n#### {2 * n}"}
        for n in range(6)
    ],
}


@pytest.fixture
def hub(monkeypatch):
    """Replace the hub by a few invented items of each of the paper's tasks, equal in all splits."""

    def load(path, name=None, **_):
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_list(MADE_UP[path])
                for split in ("train", "validation", "test")
            }
        )

    monkeypatch.setattr(datasets, "load_dataset", load)


def paper_tasks() -> list[Task]:
    return tasks_of(compose_step("downstream", ["tasks=paper"]).tasks.tasks)


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
def test_the_papers_tasks_run(model, tokenizer, seen, tmp_path):
    """Prompts, shots and filters are lm-eval's; only the items are invented."""
    *tasks, gsm8k = paper_tasks()
    shortened = {"until": ["Question:"], "do_sample": False, "max_gen_toks": 8}
    tasks.append(replace(gsm8k, definition={**gsm8k.definition, "generation_kwargs": shortened}))
    results = run_tasks(model, tokenizer, tasks, None, 4, 0, state_in(tmp_path))
    assert list(results) == [
        *("arc_challenge", "arc_easy", "hellaswag", "piqa", "winogrande", "gsm8k")
    ]
    assert [result.shots for result in results.values()] == [0] * 5 + [5]
    assert results["gsm8k"].version == "3.0"
    for task in tasks:
        (metric,) = task.metrics
        count = len(seen[task.name]) // (2 if task.name == "gsm8k" else 1)
        assert len(results[task.name].values[metric]) == count > 0
    prompt = seen["gsm8k"][0]["arguments"][0][0]
    assert prompt.count("Question:") == 6 and prompt.count("####") == 5


@pytest.mark.usefixtures("hub")
def test_gsm8k_takes_the_last_number(model, tokenizer):
    """A solution without the marker is correct under flexible-extract."""
    (task,) = (task for task in paper_tasks() if task.name == "gsm8k")
    loaded = load_tasks([task], seed=0)
    lm = wrapped(model, tokenizer, 1)
    lm.generate_until = lambda requests, **_: [
        f"4 and 1, so {2 * request.doc_id}." for request in requests
    ]
    assert run_task(lm, task, loaded["gsm8k"]).values == {"exact_match": [1.0] * 6}


def test_no_hub_is_one_sentence():
    """Tests run offline."""
    with pytest.raises(
        RadioError, match=r"task arc_challenge is not available .*choose tasks=local"
    ):
        load_tasks(paper_tasks()[:1], seed=0)


def test_an_unreported_metric_is_refused(model, tokenizer, items, tasks, tmp_path):
    tasks_with_f1 = [Task("last_word", ["f1"], definition=tasks[1].definition)]
    with pytest.raises(RadioError, match="reports no f1 on last_word under filter none"):
        run_tasks(model, tokenizer, tasks_with_f1, items, 8, 0, state_in(tmp_path))


def test_the_begin_of_sequence_token_is_recorded(model, items, tasks, tmp_path):
    result = run_tasks(model, byte_tokenizer(bos=True), tasks[1:], items, 8, 0, state_in(tmp_path))
    assert result["last_word"].bos == "once"
