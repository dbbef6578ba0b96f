"""Draw the rate-distortion figure of a table."""

from pathlib import Path

from omegaconf import DictConfig

from radio.report.figures.rate_distortion import rate_distortion
from radio.report.figures.style import save_figure
from radio.report.names import labels
from radio.report.table import load_table
from radio.runtime.manifest import recorded


def run(cfg: DictConfig) -> None:
    """The table `artifacts.table` -> a PNG at `out`, and beside it a PDF."""
    out = Path(cfg.out)
    with recorded("figure", cfg, out) as measured:
        table = load_table(Path(cfg.artifacts.table))
        figure = rate_distortion(
            table,
            method_labels=labels("method", table.method),
            model_labels=labels("model", table.model),
            text_labels=labels("data", table.text),
        )
        save_figure(figure, out)
        measured["panels"] = len(figure.axes)
