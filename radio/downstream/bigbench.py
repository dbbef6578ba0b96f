"""Multiple-choice tasks of BIG-bench (Srivastava et al., 2022), out of its archive on PyPI."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from radio.runtime.errors import RadioError
from radio.runtime.files import read_json
from radio.runtime.sdist import sdist_members
from radio.runtime.wheel import cache_dir


@dataclass(frozen=True, kw_only=True)
class BigBench:
    """Questions drawn by the seed from the JSON files of some tasks.

    Attributes:
        requirement: the source archive, pinned: "bigbench==1.0.0".
        sha256: of the archive.
        members: path of each task's file in the archive.
        count: most questions of a task.
        seed: draws them.
    """

    requirement: str
    sha256: str
    members: Mapping[str, str]
    count: int
    seed: int

    def items(self) -> dict[str, list[dict[str, Any]]]:
        """Items by task, with `context`, `choices`, and the place of the true one as `label`.

        Raises:
            RadioError: the archive cannot be had or is another, or a file has no questions.
        """
        files = sdist_members(
            self.requirement, self.sha256, list(self.members.values()), cache_dir()
        )
        return {task: self._drawn(task, files[member]) for task, member in self.members.items()}

    def _drawn(self, task: str, file: Path) -> list[dict[str, Any]]:
        try:
            found = [_item(example) for example in read_json(file)["examples"]]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise RadioError(
                f"{file} holds no multiple-choice questions ({error!r}): delete it and run again"
            ) from error
        count = min(self.count, len(found))
        return Random(f"{task} {self.seed}").sample(found, count)


def _item(example: Mapping[str, Any]) -> dict[str, Any]:
    """A question with one true answer.

    >>> _item({"input": "One and one is ", "target_scores": {"three": 0, "two": 1}})
    {'context': 'One and one is', 'choices': ['three', 'two'], 'label': 1}
    """
    scores = list(example["target_scores"].values())
    return {
        "context": example["input"].strip(),
        "choices": list(example["target_scores"]),
        "label": scores.index(1),
    }
