"""Remedies in messages: every `key=` that a message names can be set."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from radio.runtime.compose import compose_step, options, steps
from radio.runtime.signature import signature

PACKAGE = Path(__file__).parents[2] / "radio"
KEY = re.compile(r"(?<![\w.{}'/-])([a-z_]+(?:\.[a-z_]+)*)=")
GROUPS = {
    "model": "prepare",
    "method": "refine",
    "data": "tokenize",
    "experiment": "table",
    "figure": "figure",
    "tasks": "items",
    "calibration": "calibrate",
    "refinement": "refine",
}
# of `radio plan`, Snakemake's --config, a checkpoint's config.json, a packed file, and Hydra
OTHERS = {"check", "smoke", "partial", "num_hidden_layers", "format_version", "_target_"}
# stands for a key of a variant, which `radio.workflow.variants` reads
EXAMPLES = {"reference"}


def keys_of(node: DictConfig, above: str = "") -> Iterator[str]:
    """Return all keys of a configuration, with the arguments that its targets have."""
    for name in node:
        key = f"{above}{name}"
        yield key
        value = None if OmegaConf.is_missing(node, name) else node._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from keys_of(value, f"{key}.")
            target = value.get("_target_")
            yield from (f"{key}.{each}" for each in (signature(target).hints if target else ()))


def test_every_key_in_a_message_exists() -> None:
    known = set(OTHERS | EXAMPLES)
    for step in steps():
        known |= set(keys_of(compose_step(step)))
    for group, step in GROUPS.items():
        for option in options(group):
            known |= set(keys_of(compose_step(step, [f"{group}={option}"])))
    wrong = {
        f"{path.relative_to(PACKAGE)}:{line}: {key}"
        for path in PACKAGE.rglob("*.py")
        for line, key in named_keys(ast.parse(path.read_text()))
        if key not in known
    }
    assert not wrong


def named_keys(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return the line and name of every key in the messages of a module's `RadioError`s."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    for call in calls:
        if ast.unparse(call.func) != "RadioError":
            continue
        for node in ast.walk(call):
            if isinstance(node, ast.JoinedStr):
                parts = (part for part in node.values if isinstance(part, ast.Constant))
                text = "{}".join(str(part.value) for part in parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            yield from ((node.lineno, key) for key in KEY.findall(text))
