"""Draw a figure from the artifacts that its YAML names."""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from radio.report.figures.style import save_figure
from radio.runtime.manifest import recorded


def run(cfg: DictConfig) -> None:
    """`artifacts`, lists of paths by the step that made them -> a PNG at `out`, beside it a PDF."""
    out = Path(cfg.out)
    with recorded("figure", cfg, out) as measured:
        artifacts = OmegaConf.to_container(cfg.artifacts)
        assert isinstance(artifacts, dict)
        given = {str(step): paths for step, paths in artifacts.items() if paths}
        figure = instantiate(cfg.figure.draw)(**given)
        save_figure(figure, out)
        measured["panels"] = len(figure.axes)
