"""One layout filled with one cluster, then changed: how long each takes, and how much it holds.

    python bench/programming.py podwire 10000 10 --changes 300   ─►  {"load_s": 3.1, …} (Programmed)

Run in a process and a network namespace of its own, which keeps the tables. The clock runs from
decoded objects until the kernel holds them; documents are made and decoded before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import changes
import cluster
import msgspec
from layouts import Layout
from layouts.kube_proxy import KubeProxyLayout
from layouts.podwire import Podwire
from memory import peak_mb, resident_mb

from podwire_core.feed.decode import decode_json
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service

LAYOUTS: dict[str, Callable[[], Layout]] = {"podwire": Podwire, "kube-proxy": KubeProxyLayout}

O = TypeVar("O", bound=KubernetesObject)  # noqa: E741 - reads as "object" where it is used


class Programmed(msgspec.Struct, frozen=True):
    """What was measured. Times of the changes in milliseconds by kind; memory in 10^6 bytes."""

    layout: str
    services: int
    endpoints: int
    load_s: float
    rss_mb: float  # after the load
    peak_mb: float  # ever, the changes included
    rss_changed_mb: float  # after the changes
    change_ms: dict[str, list[float]]


def decoded(document: object, kind: type[O]) -> O:
    """As the feed does it: from the API server's bytes."""
    made = decode_json(msgspec.json.encode(document), kind, "bench")
    assert isinstance(made, kind)  # noqa: S101 - tells mypy
    return made


def objects(services: int, endpoints: int) -> Iterator[KubernetesObject]:
    """The cluster, object by object: no document outlives its turn."""
    for number in range(cluster.NODE_COUNT):
        yield decoded(cluster.node(number), Node)
    for number in range(services):
        yield decoded(cluster.service(number), Service)
        yield decoded(cluster.endpoint_slice(number, endpoints), EndpointSlice)


def measure(name: str, services: int, endpoints: int, count: int) -> Programmed:
    """Fill and change. Raises NftError, CalledProcessError: the kernel refused."""
    layout = LAYOUTS[name]()
    everything = list(objects(services, endpoints))
    before = time.perf_counter()
    layout.load(everything)
    load_s = time.perf_counter() - before
    everything.clear()  # the layout keeps what it needs
    rss_mb = resident_mb()
    times: dict[str, list[float]] = {kind.value: [] for kind in changes.Kind}
    for each in changes.slice_changes(services, endpoints, count):
        now = decoded(each.document, EndpointSlice)
        before = time.perf_counter()
        layout.change(now)
        times[each.kind.value].append((time.perf_counter() - before) * 1000)
    return Programmed(name, services, endpoints, load_s, rss_mb, peak_mb(), resident_mb(), times)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("layout", choices=LAYOUTS)
    parser.add_argument("services", type=int)
    parser.add_argument("endpoints", type=int)
    parser.add_argument("--changes", type=int, default=0)
    given = parser.parse_args()
    found = measure(given.layout, given.services, given.endpoints, given.changes)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    import podwire_node.agent  # noqa: F401 - what an agent loads counts in its memory

    main()
