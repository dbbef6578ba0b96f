"""Draw a figure from the artifacts that its YAML names."""

from collections.abc import Callable

from omegaconf import DictConfig, OmegaConf

from radio.report.figures.style import save_figure
from radio.runtime.build import build
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path


def run(cfg: DictConfig) -> None:
    """Read `artifacts`, lists of paths by their step; write the figure to `out`, as PNG and PDF."""
    out = output_path(cfg.out)
    with recorded("figure", cfg, out, [".pdf"]) as (staged, measured):
        artifacts = OmegaConf.to_container(cfg.artifacts)
        assert isinstance(artifacts, dict)
        paths_of = {str(step): paths for step, paths in artifacts.items() if paths}
        figure = build(cfg.figure.draw, "figure.draw", Callable)(**paths_of)
        save_figure(figure, staged)
        measured["panels"] = len(figure.axes)
