"""A whole agent that reads the large cluster from an API server, for what it holds in memory.

The server is a thread of ours in the node's namespace: it lists the cluster page by page, as
servers do that stream no lists, and its watches say nothing. Filling a real one would take minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import scratch
from memory import peak_mb, resident_mb
from rooms import room

from policing import crowd

_PATIENCE_S = 300.0
_AGAIN = {"kind": "Status", "code": 400, "message": "this server streams no lists"}

Page = Callable[[int, int], Sequence[crowd.Document]]


@dataclass(frozen=True)
class AgentRun:
    """Seconds from its start until all is in the kernel; MB of 10^6 bytes then and ever."""

    ready_s: float
    rss_mb: float
    peak_mb: float


def run_agent(namespaces: int, folder: Path) -> AgentRun:
    """One agent of component policy, from its start until it is ready, and its end."""
    with room() as node:
        node.run("ip", "link", "set", "lo", "up")
        with _server(node, namespaces) as port:
            return _measured(node, _kubeconfig(folder, port), folder)


def _measured(node: scratch.Netns, kubeconfig: Path, folder: Path) -> AgentRun:
    status, log = folder / "status.json", folder / "agent.log"
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", crowd.NODE]
    command += ["--components", "policy", "--feed", "kubernetes", "--kubeconfig", str(kubeconfig)]
    command += ["--status", str(status), "--control-socket", str(folder / "agent.sock")]
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{node.name}", *command], stdout=out, stderr=out
        )
    try:
        scratch.until("the agent is ready", lambda: _ready(process, status, log), _PATIENCE_S)
        took = time.perf_counter() - began
        return AgentRun(took, resident_mb(process.pid), peak_mb(process.pid))
    finally:
        process.kill()
        process.wait()


def _ready(process: subprocess.Popen[bytes], status: Path, log: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError(log.read_text()[-2000:])
    return status.exists() and bool(json.loads(status.read_bytes())["ready"])


def _kubeconfig(folder: Path, port: int) -> Path:
    """No user: nothing secret goes over plain http."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}],
        "current-context": "c",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(config))
    return path


@contextmanager
def _server(node: scratch.Netns, namespaces: int) -> Iterator[int]:
    """The server's port."""
    with node.inside():
        server = _Server(("127.0.0.1", 0), _Handler)
    server.pages = _pages(namespaces)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.ending.set()
        server.shutdown()
        server.server_close()


def _pages(namespaces: int) -> dict[str, Page]:
    """What each path lists: documents from a number on, at most so many."""
    places = list(crowd.places(namespaces))
    policies = [row for n in range(namespaces) for row in crowd.policies(n, namespaces)]
    nodes = [crowd.node(number) for number in range(crowd.NODE_COUNT)]
    homes = [crowd.namespace(number, namespaces) for number in range(namespaces)]
    return {
        "/api/v1/nodes": lambda first, many: nodes[first : first + many],
        "/api/v1/namespaces": lambda first, many: homes[first : first + many],
        "/api/v1/pods": lambda first, many: [
            crowd.pod(place) for place in places[first : first + many]
        ],
        "/apis/networking.k8s.io/v1/networkpolicies": (
            lambda first, many: policies[first : first + many]
        ),
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: dict[str, Page]

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
