"""Questions of BIG-bench out of its files."""

import json

import pytest

from radio.downstream import bigbench
from radio.downstream.bigbench import BigBench
from radio.runtime.errors import RadioError

EXAMPLES = [
    {"input": f"What is {n}? ", "target_scores": {"even": 1 - n % 2, "odd": n % 2}}
    for n in range(40)
]


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The task `parity` in a file that stands for the archive's."""
    file = tmp_path / "task.json"
    file.write_text(json.dumps({"canary": "x", "examples": EXAMPLES}))
    monkeypatch.setattr(
        bigbench, "sdist_members", lambda requirement, sha256, members, cache: {members[0]: file}
    )
    members = {"parity": "some/task.json"}
    return BigBench(requirement="x==1", sha256="0" * 64, members=members, count=10, seed=0)


def test_questions_and_their_answers(source):
    items = source.items()["parity"]
    assert len({item["context"] for item in items}) == 10
    for item in items:
        number = int(item["context"].removeprefix("What is ").removesuffix("?"))
        assert item["choices"][item["label"]] == ("odd" if number % 2 else "even")
    assert source.items()["parity"] == items


def test_a_file_without_questions(source, tmp_path):
    (tmp_path / "task.json").write_text('{"examples": [{"input": "x"}]}')
    with pytest.raises(RadioError, match=r"holds no multiple-choice questions.*delete it"):
        source.items()
