"""Run a set of downstream tasks on a quantized model through lm-eval."""

import importlib.metadata
from dataclasses import asdict

import pandas as pd
from omegaconf import DictConfig

from radio.checkpoint import install, load_quantized
from radio.downstream.run import run_tasks
from radio.downstream.scores import score
from radio.downstream.tasks import load_items, tasks_of
from radio.models import load_model, load_tokenizer, place
from radio.runtime.device import devices
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.state import StateStore
from radio.steps.inputs import checkpoint_path, evaluated_in, given

CARRIED = ("method", "rate_bits", "bits_paper", "bits_true")


def run(cfg: DictConfig) -> None:
    """`artifacts` -> each item's values at `out`, scores and standard errors in its manifest.

    Without `artifacts.quantized` the checkpoint is run as it is.
    """
    out, coded, checkpoint = output_path(cfg.out), given(cfg, "quantized"), checkpoint_path(cfg)
    with recorded("downstream", cfg, out) as (staged, measured):
        on = devices(cfg.device)
        model = load_model(checkpoint, evaluated_in(cfg))
        measured |= {"model": cfg.model.name, "tasks_name": cfg.tasks.name, "dtype": cfg.dtype}
        if coded is not None:
            made = read_manifest(coded)
            install(model, load_quantized(coded))
            measured |= {name: made["measured"][name] for name in CARRIED}
            measured |= {"size_bytes": made["size_bytes"]}
        model = place(model, on)
        tasks = tasks_of(cfg.tasks.tasks)
        file, tokenizer = given(cfg, "task_items"), load_tokenizer(checkpoint)
        items = None if file is None else load_items(file)
        state = StateStore.of_job("downstream", cfg, out)
        results = run_tasks(model, tokenizer, tasks, items, cfg.batch, cfg.seed, state)
        rows = [
            {"task": task, "metric": metric, "item": item, "value": value}
            for task, result in results.items()
            for metric, values in result.values.items()
            for item, value in enumerate(values)
        ]
        with atomic(staged) as scratch:
            pd.DataFrame(rows).to_csv(scratch, index=False)
        measured |= {"lm_eval": importlib.metadata.version("lm_eval")}
        measured["tasks"] = {
            task: {
                **{key: value for key, value in asdict(result).items() if key != "values"},
                "items": len(next(iter(result.values.values()))),
                "scores": {name: asdict(score(name, v)) for name, v in result.values.items()},
            }
            for task, result in results.items()
        }
    state.remove()
