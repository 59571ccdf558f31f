"""Fills a real API server with a cluster (cluster.py), through its API alone."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import cluster
from control_plane import TOKEN, ControlPlane

CLIENTS = 8


class Client:
    """One connection that is kept open; for one thread of the plane's namespace."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", 6443, context=context, timeout=60
        )
        self._connection.connect()  # now: a thread may leave its namespace afterwards

    def send(self, method: str, path: str, body: Any) -> None:
        """One request. Raises RuntimeError with the server's answer when it refuses."""
        patch = method == "PATCH"
        headers = {
            "Authorization": f"Bearer {TOKEN}",
            "Content-Type": f"application/{'merge-patch+' if patch else ''}json",
        }
        self._connection.request(method, path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def client(plane: ControlPlane) -> Iterator[Client]:
    """A client whose connection lives in the plane's namespace."""
    with plane.netns.inside():
        made = Client()
    try:
        yield made
    finally:
        made.close()


def objects(services: int) -> int:
    """How many objects fill() makes."""
    return cluster.NODE_COUNT + 2 * services


def fill(plane: ControlPlane, services: int, endpoints: int, told: Callable[[], object]) -> None:
    """Make nodes, Services, and `endpoints` endpoints of each; told: called once an object."""
    own = threading.local()

    def post(path: str, body: dict[str, Any]) -> None:
        if not hasattr(own, "client"):
            own.client = Client()
        own.client.send("POST", path, body)
        told()

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        yield from ((cluster.NODES, cluster.node(n)) for n in range(cluster.NODE_COUNT))
        for number in range(services):
            yield cluster.SERVICES, cluster.service(number)
            yield cluster.SLICES, cluster.endpoint_slice(number, endpoints)

    # Threads are born where the one who submits is, so their connections are the plane's.
    with plane.netns.inside(), ThreadPoolExecutor(CLIENTS) as pool:
        try:
            for done in [pool.submit(post, *row) for row in rows()]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
