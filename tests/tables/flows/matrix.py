"""Each policy with each way to tell pods, each source and each kind of address, generated.

What should happen is said by `reached`, twenty lines that know nothing of nftables: the naive
twin of the proxy. The Services are named by their policies: `cl` is internal Cluster, external
Local, and each has endpoint a on this node and d on the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from flows.objects import Port, Svc
from flows.places import REMOTE_PODS
from flows.rows import Flow
from flows.world import World
from podwire_proxy.options import Local, Options

_POLICIES = {"c": "Cluster", "l": "Local"}
_NAMES = ("cc", "cl", "lc", "ll")
_SOURCES = ("a", "c", "d", "stray", "outside", "node")
_KINDS = ("cluster", "lb", "ext", "node")

#: How pods are told, and whom that makes local; None: no one can tell.
_DETECTORS: dict[str, tuple[Local, tuple[str, ...] | None]] = {
    "all Nodes' networks": (Local(), ("a", "c", *REMOTE_PODS)),
    "our Node's networks": (Local("own"), ("a", "c")),
    "the cluster's CIDRs": (
        Local("cidrs", ("10.244.0.0/16", "fd00:10:244::/48")),
        ("a", "c", *REMOTE_PODS),
    ),
    "links' names": (Local("interface", interface="pod-*"), ("a", "c", "stray")),
    "nothing": (Local("cidrs"), None),
}

SERVICES = tuple(
    Svc(
        name,
        "a d",
        Port(node=30080 + index),
        balancer=True,
        external=True,
        internalTrafficPolicy=_POLICIES[name[0]],
        externalTrafficPolicy=_POLICIES[name[1]],
    )
    for index, name in enumerate(_NAMES)
)


def reached(
    service: str, kind: str, source: str, pods: tuple[str, ...] | None, *, masquerade_all: bool
) -> tuple[tuple[str, ...], bool]:
    """The endpoints of `service` that `source` reaches, and whether it is masqueraded."""
    everyone, here = ("a", "d"), ("a",)
    internal, external = service[0], service[1]
    if kind == "cluster":
        stranger = pods is not None and source not in pods
        return (here if internal == "l" else everyone), (masquerade_all or stranger)
    if external == "c":
        return everyone, True
    if pods is not None and source in pods:
        return everyone, False
    if source == "node":
        return everyone, True
    return here, False


def _flows(pods: tuple[str, ...] | None, *, masquerade_all: bool) -> Iterator[Flow]:
    for index, service in enumerate(_NAMES):
        for kind in _KINDS:
            for source in _SOURCES:
                ends, masqueraded = reached(
                    service, kind, source, pods, masquerade_all=masquerade_all
                )
                at_node = kind == "node"
                yield Flow(
                    source,
                    "node" if at_node else service,
                    30080 + index if at_node else 80,
                    frozenset(f"{end}:8080" for end in ends),
                    f"{source} dials {service} by its {kind} address",
                    "cluster" if at_node else kind,
                    masqueraded=frozenset(
                        f"{end}:8080" for end in ends if masqueraded or end == source == "a"
                    ),
                )


WORLDS = tuple(
    World(
        f"matrix, pods by {name}{', everyone masqueraded' if masquerade_all else ''}",
        SERVICES,
        tuple(_flows(pods, masquerade_all=masquerade_all)),
        Options(local, masquerade_all),
        seldom=True,
    )
    for name, (local, pods) in _DETECTORS.items()
    for masquerade_all in (False, True)
)
