"""A small HTTP server that answers as the Hugging Face hub does, from a directory."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

REVISION = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(BaseHTTPRequestHandler):
    """Serves `files` as tiny/model at REVISION; `error` is sent instead of anything else."""

    files: ClassVar[Path]
    error: ClassVar[tuple[int, str] | None] = None
    sent: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if self.error is not None:
            self._send(self.error[0], b"{}", {"X-Error-Code": self.error[1]}, body)
        elif path == f"/api/models/tiny/model/tree/{REVISION}":
            tree = [
                {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": sha(file)}
                for file in sorted(self.files.iterdir())
            ]
            self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, body)
        elif path.startswith(f"/tiny/model/resolve/{REVISION}/"):
            file = self.files / path.rpartition("/")[2]
            headers = {"ETag": f'"{sha(file)}"', "X-Repo-Commit": REVISION}
            if body:
                self.sent.append(file.name)
            self._send(200, file.read_bytes(), headers, body)
        else:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def sha(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
