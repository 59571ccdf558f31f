"""An API server that lists one cluster and never changes it, for agents whose memory is measured.

A thread of ours in the node's namespace: it lists page by page, as servers do that stream no lists,
and its watches say nothing. Filling a real one would take minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import scratch

_AGAIN = {"kind": "Status", "code": 400, "message": "this server streams no lists"}

#: From a document's number on, at most so many.
Page = Callable[[int, int], Sequence[dict[str, Any]]]


def kubeconfig(folder: Path, port: int) -> Path:
    """A file that leads to it. No user: nothing secret goes over plain http."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
        "current-context": "c",
    }
    path = folder / "kubeconfig"
    path.write_bytes(msgspec.json.encode(config))
    return path


@contextmanager
def listing(node: scratch.Netns, pages: Mapping[str, Page]) -> Iterator[int]:
    """The server's port; pages: what each path lists."""
    with node.inside():
        server = _Server(("127.0.0.1", 0), _Handler)
    server.pages = pages
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: Mapping[str, Page]

    def __init__(self, *words: object) -> None:
        super().__init__(*words)  # type: ignore[arg-type]  # as they come
        self.ending = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        """A page, or a watch that says nothing."""
        asked = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(asked.query).items()}
        page = self.server.pages.get(asked.path)
        if page is None:
            self._answer(404, {"kind": "Status", "code": 404, "message": "not here"})
        elif "sendInitialEvents" in query:
            self._answer(400, _AGAIN)
        elif "watch" in query:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            self.server.ending.wait()
        else:
            first, many = int(query.get("continue", 0)), int(query.get("limit", 500))
            items = page(first, many)
            more = str(first + many) if len(items) == many else ""
            metadata = {"resourceVersion": "1", "continue": more}
            self._answer(200, {"metadata": metadata, "items": items})

    def log_message(self, *_: object) -> None:
        """Nothing: what is asked is the agent's business."""

    def _answer(self, status: int, document: object) -> None:
        body = msgspec.json.encode(document)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
