"""Fills a real API server, through its API alone: Services with their EndpointSlices.

Names are service-00000 …; a Service's slice has its name, and endpoints of its own addresses.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from control_plane import TOKEN, ControlPlane

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
NODES = "/api/v1/nodes"
CLIENTS = 8
NODE_COUNT = 100


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


def node(number: int) -> dict[str, Any]:
    """A Node with an address and a podCIDR of its own."""
    return {
        "metadata": {"name": f"node-{number:03}"},
        "spec": {"podCIDR": f"10.{128 + number}.0.0/16", "podCIDRs": [f"10.{128 + number}.0.0/16"]},
    }


def service(number: int) -> dict[str, Any]:
    """A Service whose address the API server chooses."""
    name = f"service-{number:05}"
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    return {
        "metadata": {"name": name, "labels": {"app": name, "tier": "bench"}},
        "spec": {"selector": {"app": name}, "ports": ports},
    }


def endpoint(number: int, index: int) -> dict[str, Any]:
    """One endpoint as the real controller writes them."""
    where = number * 16 + index
    node_number = where % NODE_COUNT
    return {
        "addresses": [f"10.{128 + where // 65536}.{where // 256 % 256}.{where % 256}"],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": f"node-{node_number:03}",
        "targetRef": {
            "kind": "Pod",
            "namespace": "default",
            "name": f"service-{number:05}-{index}",
            "uid": f"00000000-0000-4000-8000-{where:012}",
        },
    }


def endpoint_slice(number: int, endpoints: int) -> dict[str, Any]:
    """The slice of one Service."""
    name = f"service-{number:05}"
    labels = {
        "app": name,
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    return {
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [endpoint(number, index) for index in range(endpoints)],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }


def fill(plane: ControlPlane, services: int, endpoints: int, told: Callable[[], object]) -> None:
    """Make nodes, Services, and `endpoints` endpoints of each; told: called once an object."""
    own = threading.local()

    def post(path: str, body: dict[str, Any]) -> None:
        if not hasattr(own, "client"):
            own.client = Client()
        own.client.send("POST", path, body)
        told()

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        yield from ((NODES, node(number)) for number in range(NODE_COUNT))
        for number in range(services):
            yield SERVICES, service(number)
            yield SLICES, endpoint_slice(number, endpoints)

    # Threads are born where the one who submits is, so their connections are the plane's.
    with plane.netns.inside(), ThreadPoolExecutor(CLIENTS) as pool:
        try:
            for done in [pool.submit(post, *row) for row in rows()]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
