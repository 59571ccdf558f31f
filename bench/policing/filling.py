"""One engine filled with one cluster, then changed: how long each takes, and how much it holds.

    python bench/policing/filling.py podwire 100 --changes 100   ─►  {"load_s": 0.9, …} (Filled)

Run in a process and a network namespace of its own, which keeps the rules. The clock runs from
decoded objects until the kernel holds them; documents are made and decoded before. A pod that came
goes again before the next one comes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

sys.path.insert(0, str(Path(__file__).parents[1]))

from memory import peak_mb, resident_mb

from podwire_core.feed.decode import decode_json
from podwire_core.objects import KubernetesObject, Namespace, NetworkPolicy, Node, Pod
from policing import crowd
from policing.kube_router import KubeRouter
from policing.podwire import Podwire

#: Pods that come have indices that no pod of the beginning has.
_COMING = 1_000
_REMOTE_FROM = 200_000  # and their addresses' numbers

O = TypeVar("O", bound=KubernetesObject)  # noqa: E741 - reads as "object" where it is used


class Kind(StrEnum):
    """Which pod comes."""

    PEER = "remote pod"
    REPLICA = "local pod, group known"
    GROUP = "local pod, new group"


class Filled(msgspec.Struct, frozen=True):
    """What was measured. Milliseconds of pods that came, and that went, by kind; MB of 10^6 bytes.

    parts: seconds of the parts of a load, by name.
    """

    engine: str
    namespaces: int
    load_s: float
    parts: dict[str, float]
    rss_mb: float  # after the load
    rss_changed_mb: float  # after the changes
    peak_mb: float
    came_ms: dict[str, list[float]]
    went_ms: dict[str, list[float]]


def decoded(document: object, kind: type[O]) -> O:
    """As the feed does it: from the API server's bytes."""
    made = decode_json(msgspec.json.encode(document), kind, "bench")
    assert isinstance(made, kind)  # noqa: S101 - tells mypy
    return made


def objects(namespaces: int, *, with_policies: bool = True) -> Iterator[KubernetesObject]:
    """The cluster, object by object: no document outlives its turn."""
    for number in range(crowd.NODE_COUNT):
        yield decoded(crowd.node(number), Node)
    for number in range(namespaces):
        yield decoded(crowd.namespace(number, namespaces), Namespace)
        for document in crowd.policies(number, namespaces) if with_policies else ():
            yield decoded(document, NetworkPolicy)
    for place in crowd.places(namespaces):
        yield decoded(crowd.pod(place), Pod)


def coming(kind: Kind, namespaces: int, count: int) -> Iterator[Pod]:
    """Pods that come, one after the other."""
    local = min(namespaces, crowd.LOCAL)
    for number in range(count):
        where = _COMING + number
        match kind:
            case Kind.PEER:
                home = number * 37 % namespaces
                place = crowd.remote_place(home, where, _REMOTE_FROM + number)
            case Kind.REPLICA:  # as the local pod of that namespace, whose index is the namespace's
                home = number % local
                index = _COMING * (1 + number // local) + home % crowd.PODS
                place = crowd.Place(home, index, 0, crowd.local_address(where))
            case Kind.GROUP:  # of a namespace without local pods, or as none there is
                spare = namespaces - local
                home = local + number % spare if spare else number % local
                index = _COMING * 9 + (number if spare else _other(home))
                place = crowd.Place(home, index, 0, crowd.local_address(where))
        yield decoded(crowd.pod(place), Pod)


def _other(index: int) -> int:
    """An index whose app and tier no policy treats as this one's."""
    return index + 15


def measure(engine: str, namespaces: int, count: int, *, with_policies: bool) -> Filled:
    """Fill and change. Raises NftError, CalledProcessError: the kernel refused."""
    made = Podwire() if engine == "podwire" else KubeRouter()
    everything = list(objects(namespaces, with_policies=with_policies))
    load_s = made.load(everything)
    parts = made.parts if isinstance(made, KubeRouter) else {}
    everything.clear()  # the engine keeps what it needs
    rss_mb = resident_mb()
    came: dict[str, list[float]] = {}
    went: dict[str, list[float]] = {}
    for kind in Kind if isinstance(made, Podwire) else [Kind.PEER]:
        for pod in coming(kind, namespaces, count):
            came.setdefault(kind.value, []).append(made.came(pod) * 1000)
            went.setdefault(kind.value, []).append(made.went(pod) * 1000)
    return Filled(engine, namespaces, load_s, parts, rss_mb, resident_mb(), peak_mb(), came, went)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["podwire", "kube-router"])
    parser.add_argument("namespaces", type=int)
    parser.add_argument("--changes", type=int, default=0)
    parser.add_argument("--without-policies", action="store_true")
    given = parser.parse_args()
    with_policies = not given.without_policies
    found = measure(given.engine, given.namespaces, given.changes, with_policies=with_policies)
    sys.stdout.buffer.write(msgspec.json.encode(found))


if __name__ == "__main__":
    import podwire_node.agent  # noqa: F401 - what an agent loads counts in its memory

    main()
