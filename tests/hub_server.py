"""A server shaped like the Hugging Face hub, for tests without the internet."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "a" * 40
REPOSITORY = "timm/selecsls42b.in1k"
"""The only one that it has."""


@dataclass
class Server:
    """A hub of one repository, which is also a plain file server."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # of the repository
    promised: dict[str, str] = field(default_factory=dict)  # checksums that are not the true ones
    asked: list[str] = field(default_factory=list)  # methods and paths
    keep_back: int = 0  # bytes at the end that never arrive

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{handler.command} {handler.path}")
        parts = handler.path.partition("?")[0].lstrip("/").split("/")
        is_hub = len(parts) == 5 and parts[2] == "resolve"
        if is_hub and "/".join(parts[:2]) != REPOSITORY:
            self.refuse(handler, "RepoNotFound")
        elif is_hub and parts[3] not in ("main", COMMIT):
            self.refuse(handler, "RevisionNotFound")
        elif parts[-1] not in self.files:
            self.refuse(handler, "EntryNotFound")
        else:
            self.send(handler, parts[-1])

    def refuse(self, handler: http.server.BaseHTTPRequestHandler, why: str) -> None:
        handler.send_response(404)
        handler.send_header("X-Error-Code", why)
        if why == "EntryNotFound":
            handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def send(self, handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
        body = self.files[name]
        handler.send_response(200)
        handler.send_header(
            "ETag", f'"{self.promised.get(name, hashlib.sha256(body).hexdigest())}"'
        )
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body[: len(body) - self.keep_back])


@contextmanager
def hub_server() -> Iterator[Server]:
    """Listening on this machine until the block ends."""
    made = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.answer(self)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made.address = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown()
            thread.join()
