"""Make the items of a set of tasks out of packaged text, or take them out of an archive."""

from hydra.utils import instantiate
from omegaconf import DictConfig

from radio.downstream.tasks import save_items
from radio.runtime.errors import RadioError
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.wheel import sha256_of


def run(cfg: DictConfig) -> None:
    """The source `tasks.items` -> items of all tasks at `out`, a line each."""
    out = output_path(cfg.out)
    if cfg.tasks.items_from is None:
        raise RadioError(f"tasks={cfg.tasks.name} are lm-eval's, which brings their items itself")
    with recorded("items", cfg, out) as (staged, measured):
        items = instantiate(cfg.tasks.items_from).items()
        save_items(staged, items)
        measured |= {
            "sha256": sha256_of(staged),
            "items": {task: len(items[task]) for task in items},
        }
