"""Derive the items of a set of tasks from bundled text."""

from omegaconf import DictConfig

from radio.evaluate.downstream.tasks import Items, save_items
from radio.runtime.build import build
from radio.runtime.errors import RadioError
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.wheel import sha256_of


def run(cfg: DictConfig) -> None:
    """Write the items of all tasks, from the source `tasks.items_from`, to `out`, one per line."""
    out = output_path(cfg.out)
    if cfg.tasks.items_from is None:
        raise RadioError(
            f"tasks={cfg.tasks.name} has no items_from: lm-eval loads the items of its own tasks"
        )
    with recorded("items", cfg, out) as (staged, measured):
        items = build(cfg.tasks.items_from, "tasks.items_from", Items).items()
        save_items(staged, items)
        measured |= {
            "sha256": sha256_of(staged),
            "items": {task: len(items[task]) for task in items},
        }
