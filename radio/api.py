"""The Python interface: compress a model to a directory, and load such a directory.

    import radio

    result = radio.compress("/models/mine", bpw=3.0, data="/texts/mine.txt", out="mine-3bpw")
    print(result.bpw, result.size_bytes)
    model = radio.load("mine-3bpw")

Both run the code of `radio compress` and of transformers' `from_pretrained`. Heavy libraries are
imported inside the functions, so that `import radio` stays fast.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class CompressedModel:
    """A compressed model on disk.

    Attributes:
        path: directory that `radio.load` and, after `import radio`, transformers read.
        method: name of the method, with the settings of a variant.
        bpw: bits per quantized weight, all side information included.
        mean_depth: mean bit depth of the codes alone, the rate that the paper quotes.
        size_bytes: bytes of all files in the directory.
    """

    path: Path
    method: str
    bpw: float
    mean_depth: float
    size_bytes: int


def compress(
    model: str | Path | PreTrainedModel,
    method: str = "radio",
    *,
    out: str | Path,
    bpw: float | None = None,
    size: str | None = None,
    kl: float | None = None,
    perplexity_increase: str | None = None,
    mean_depth: float | None = None,
    data: str | Path | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> CompressedModel:
    """Compress a model to the directory `out` and return what it takes.

    Exactly one of `bpw`, `size`, `kl`, `perplexity_increase` and `mean_depth` sets the rate.
    Intermediate results go to `results/` in the current directory; the same call resumes there
    after an interruption, and takes what is already there.

    Args:
        model: name of a model in `config/model/`, directory of a checkpoint, or a model in memory,
            which is saved to a temporary directory first.
        method: name of a method in `config/method/`, or a variant such as `radio@scale_bits=8`.
        out: directory to write; an earlier compressed model there is replaced.
        bpw: bits per quantized weight, everything counted, such as 3.0.
        size: bytes of the quantized file with their unit, such as "100MB".
        kl: largest KL divergence from the original on validation text, in nats per token.
        perplexity_increase: largest relative increase of perplexity on validation text, as "2%".
        mean_depth: mean bits per code, side information not counted.
        data: UTF-8 text to calibrate and validate on; None takes the model's default text.
        tokenizer: tokenizer of a model in memory.
        settings: further Hydra overrides for all steps, such as {"seed": 1}.
        threads: CPU threads; None takes all.

    Raises:
        RadioError: bad input, or a step of the workflow failed.
    """
    from radio.commands.compress import run
    from radio.pack.hf.integrity import read_checked_manifest
    from radio.runtime.errors import RadioError

    rates = {"bpw": bpw, "size": size, "kl": kl, "perplexity_increase": perplexity_increase}
    words = [f"target.{kind}={value}" for kind, value in rates.items() if value is not None]
    words += [] if mean_depth is None else [f"rate_bits={mean_depth}"]
    words += [f"method={method}", f"out={out}"]
    words += [] if threads is None else [f"threads={threads}"]
    if data is not None:
        words += ["model.calibration_data=local", f"data.path={_quoted(Path(data).absolute())}"]
    words += [f"{key}={value}" for key, value in (settings or {}).items()]
    with ExitStack() as stack:
        if not isinstance(model, str | Path):
            if tokenizer is None:
                raise RadioError(
                    "a model in memory needs its tokenizer: give both, or the path of a checkpoint"
                )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="radio-model-")))
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            model = folder
        is_directory = isinstance(model, Path) or Path(model).expanduser().is_dir()
        if is_directory:
            absolute = Path(model).expanduser().absolute()
            words += ["model=local", f"model.path={_quoted(absolute)}"]
        else:
            words += [f"model={model}"]
        run(words)
    manifest = read_checked_manifest(Path(out).expanduser())
    measured = manifest["measured"]
    return CompressedModel(
        path=Path(out).expanduser(),
        method=measured["method"],
        bpw=measured["bpw"],
        mean_depth=measured["mean_depth"],
        size_bytes=manifest["size_bytes"],
    )


def load(
    directory: str | Path, dtype: torch.dtype | None = None, device_map: Any = None
) -> PreTrainedModel:
    """Return a compressed model, with weights that stay packed in memory.

    Args:
        directory: what `compress` or `radio compress` wrote.
        dtype: of activations and of unquantized weights; None takes the checkpoint's.
        device_map: as in transformers.

    Raises:
        RadioError: the directory is not whole, or not one that radio wrote.
    """
    from transformers import AutoModelForCausalLM

    path = Path(directory).expanduser()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype or "auto", device_map=device_map, trust_remote_code=False
    )
    return model


def _quoted(path: Path) -> str:
    """Return a path as a quoted value of a Hydra override."""
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
