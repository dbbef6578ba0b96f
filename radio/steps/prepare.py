"""Put a model's checkpoint on this machine: fetch, convert or train it, and check every weight."""

from omegaconf import DictConfig

from radio.data.wikipedia import articles
from radio.models import ModelSpec, fetch_checkpoint
from radio.models.check import check_checkpoint
from radio.models.load import count_parameters, load_tokenizer
from radio.models.spec import RandomSource, TrainedSource
from radio.models.weight_files import TOKENIZER_FILES, files_sha256, inspect_weights
from radio.runtime.manifest import recorded
from radio.runtime.outputs import output_path
from radio.runtime.unavailable import failure_recorded


def run(cfg: DictConfig) -> None:
    """Write the manifest with the path and the content of the checkpoint of `cfg.model`."""
    spec, out = ModelSpec.from_config(cfg.model), output_path(cfg.out)
    folder = out.parent
    with recorded("prepare", cfg, out) as (_, measured), failure_recorded(folder):
        source, checkpoint = None if spec.path else spec.source, folder / "checkpoint"
        if isinstance(source, TrainedSource):
            from radio.models.train import train_opt_nano

            texts = articles()
            trained = train_opt_nano(texts["calibration"], texts["validation"], source, checkpoint)
            measured["validation_perplexity"] = trained.validation_perplexity
            measured["trained_steps"] = trained.step
        elif isinstance(source, RandomSource):
            from radio.models.random_weights import make_random_model

            make_random_model(source, str(spec.family), checkpoint)
        else:
            checkpoint = fetch_checkpoint(spec)
        check_checkpoint(checkpoint)
        load_tokenizer(checkpoint)
        measured["path"] = str(checkpoint.resolve())
        measured["revision"] = spec.revision
        measured["sha256"] = inspect_weights(checkpoint)
        measured["config_sha256"] = files_sha256(checkpoint, ["config.json"])
        measured["tokenizer_sha256"] = files_sha256(checkpoint, TOKENIZER_FILES)
        measured["parameters"] = count_parameters(checkpoint)
