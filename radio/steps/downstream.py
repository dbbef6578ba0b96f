"""Run a set of downstream tasks on a quantized model through lm-eval."""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd
from omegaconf import DictConfig

from radio.evaluate.downstream.run import run_tasks
from radio.evaluate.downstream.scores import score
from radio.evaluate.downstream.tasks import TaskResult, load_items, tasks_of
from radio.models import load_model, load_tokenizer, place
from radio.models.step_inputs import checkpoint_path, evaluated_in
from radio.pack.file import install, load_quantized
from radio.runtime.artifacts import optional_artifact
from radio.runtime.device import devices
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.state import StateStore

# measurements of the quantized model that the manifest repeats
FORWARDED = ("method", "rate_bits", "mean_depth", "bpw")


def run(cfg: DictConfig) -> None:
    """Write each item's values to `out`, scores and standard errors to its manifest.

    Without `artifacts.quantized` the checkpoint itself is evaluated.
    """
    out, quantized = output_path(cfg.out), optional_artifact(cfg, "quantized")
    checkpoint = checkpoint_path(cfg)
    with recorded("downstream", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        model = load_model(checkpoint, evaluated_in(cfg))
        measured |= {"model": cfg.model.name, "tasks_name": cfg.tasks.name, "dtype": cfg.dtype}
        if quantized is not None:
            manifest = read_manifest(quantized)
            install(model, load_quantized(quantized))
            measured |= {name: manifest["measured"][name] for name in FORWARDED}
            measured |= {"size_bytes": manifest["size_bytes"]}
        model = place(model, on)
        file, tokenizer = optional_artifact(cfg, "task_items"), load_tokenizer(checkpoint)
        task_data = None if file is None else load_items(file)
        tasks = tasks_of(cfg.tasks.tasks)
        state = StateStore.of_job("downstream", cfg, out)
        results = run_tasks(model, tokenizer, tasks, task_data, cfg.batch, cfg.seed, state)
        with atomic(staged) as scratch:
            pd.DataFrame(_rows(results)).to_csv(scratch, index=False)
        measured |= {"lm_eval": importlib.metadata.version("lm_eval")}
        measured["tasks"] = {task: _summary(result) for task, result in results.items()}
    state.remove()


def _rows(results: Mapping[str, TaskResult]) -> list[dict[str, Any]]:
    """Return one row per task, metric and item."""
    return [
        {"task": task, "metric": metric, "item": item, "value": value}
        for task, result in results.items()
        for metric, values in result.values.items()
        for item, value in enumerate(values)
    ]


def _summary(result: TaskResult) -> dict[str, Any]:
    """Return the settings of a task, its number of items, and its scores."""
    settings = {key: value for key, value in asdict(result).items() if key != "values"}
    count = len(next(iter(result.values.values())))
    scores = {metric: asdict(score(metric, values)) for metric, values in result.values.items()}
    return {**settings, "items": count, "scores": scores}
