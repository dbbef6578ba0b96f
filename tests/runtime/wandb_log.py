"""Reader of the `.wandb` files of offline runs: LevelDB's log format around protobuf records."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK_BYTES = 32768
FILE_HEADER_BYTES = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """All records of the file, in order."""
    content = path.read_bytes()
    assert content[:4] == b":W&B"
    position, whole = FILE_HEADER_BYTES, b""
    while position + 7 <= len(content):
        left = BLOCK_BYTES - position % BLOCK_BYTES
        if left < 7:  # too little for a header: padding
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", content[position : position + 7])
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read_run(folder: Path) -> dict[str, Any]:
    """What the one offline run in `folder` says: name, config, summary, history and artifacts."""
    (file,) = folder.rglob("offline-run-*/run-*.wandb")
    found: dict[str, Any] = {"config": {}, "summary": {}, "history": {}}
    found |= {"artifacts": [], "files": []}
    for record in records(file):
        if record.HasField("run"):
            run = record.run
            found |= {"name": run.display_name, "id": run.run_id, "project": run.project}
            found |= {"group": run.run_group, "job_type": run.job_type}
            found["config"] |= {item.key: json.loads(item.value_json) for item in run.config.update}
        for kind, items in (("summary", record.summary.update), ("history", record.history.item)):
            for item in items:
                key = item.key or "/".join(item.nested_key)
                found[kind][key] = json.loads(item.value_json)
        found["files"] += [item.path for item in record.files.files]
        if record.HasField("artifact") or record.request.HasField("log_artifact"):
            artifact = record.artifact or record.request.log_artifact.artifact
            found["artifacts"] += [entry.ref for entry in artifact.manifest.contents]
    return found
