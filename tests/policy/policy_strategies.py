"""Hypothesis strategies: small clusters in which everything concerns everything.

Few keys, values, names, addresses and ports, so that selectors select, blocks overlap, and
two pods now and then have one address.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from policy_model import NODES, block, expression, match, namespace, pod, policy, port

from podwire_core.objects import KubernetesObject

KEYS, VALUES = st.sampled_from("kl"), st.sampled_from("12")
NAMES = st.sampled_from(["x", "y"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=2)
PORT_NAMES = st.sampled_from(["web", "dns", "none"])
NUMBERS = st.sampled_from([79, 80, 81, 90])
UIDS = ["", "u1", "u2"]  # of pods, and of those that addresses were given to
PROTOCOLS = st.sampled_from(["TCP", "UDP", "SCTP"])
IPV4 = [f"10.0.{net}.{host}" for net in (0, 1) for host in (1, 2, 3)]
IPV6 = [f"{net}::{host}" for net in ("fd00", "fd00:1") for host in (1, 2, 3)]
CIDRS = [
    "0.0.0.0/0", "10.0.0.0/23", "10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/31", "10.0.0.2/32",
    "192.168.0.0/16", "203.0.113.0/24", "::/0", "fd00::/16", "fd00:1::/64", "fd00::1/128",
]  # fmt: skip


@st.composite
def selectors(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.sampled_from(["everything", "labels", "In", "NotIn", "Exists", "DoesNotExist"]))
    if shape == "everything":
        return {}
    if shape == "labels":
        return match(**draw(LABELS))
    values = draw(st.sets(VALUES, min_size=1)) if shape in {"In", "NotIn"} else ()
    return expression(draw(KEYS), shape, *sorted(values))


PEERS = st.one_of(
    st.builds(block, st.sampled_from(CIDRS), st.sampled_from(CIDRS)),
    st.builds(block, st.sampled_from(CIDRS)),
    st.fixed_dictionaries({"podSelector": selectors()}),
    st.fixed_dictionaries({"namespaceSelector": selectors()}),
    st.fixed_dictionaries({"namespaceSelector": selectors(), "podSelector": selectors()}),
)
PORTS = st.one_of(
    st.builds(port, st.none(), PROTOCOLS),
    st.builds(port, PORT_NAMES, PROTOCOLS),
    st.builds(port, NUMBERS, PROTOCOLS),
    st.builds(lambda first, protocol: port(first, protocol, first + 9), NUMBERS, PROTOCOLS),
)


def rules(peers: str) -> st.SearchStrategy[Any]:
    return st.lists(
        st.fixed_dictionaries(
            {}, optional={peers: st.lists(PEERS, max_size=3), "ports": st.lists(PORTS, max_size=3)}
        ),
        max_size=3,
    )


@st.composite
def policies(draw: st.DrawFn) -> KubernetesObject:
    spec = {
        "podSelector": draw(selectors()),
        "ingress": draw(rules("from")),
        "egress": draw(rules("to")),
        "policyTypes": draw(st.sampled_from([[], ["Ingress"], ["Egress"], ["Ingress", "Egress"]])),
    }
    return policy(f"{draw(NAMES)}/{draw(st.sampled_from('pqr'))}", **spec)


@st.composite
def any_pods(draw: st.DrawFn) -> KubernetesObject:
    ips = [draw(st.sampled_from(pool)) for pool in (IPV4, IPV6) if draw(st.integers(0, 3))]
    declared = st.tuples(st.sampled_from(["web", "dns"]), PROTOCOLS, NUMBERS)
    life = {
        "uid": draw(st.sampled_from(UIDS)),
        "creationTimestamp": f"2030-01-0{draw(st.integers(1, 3))}T00:00:00Z",
        **({} if draw(st.integers(0, 5)) else {"deletionTimestamp": "2030-02-01T00:00:00Z"}),
    }
    return pod(
        f"{draw(NAMES)}/{draw(st.sampled_from('abcd'))}",
        *ips,
        node=draw(st.sampled_from(sorted(NODES))),
        labels=draw(LABELS),
        ports=draw(st.lists(declared, max_size=2)),
        phase=draw(st.sampled_from(["Running", "Running", "Running", "Pending", "Succeeded"])),
        host_network=not draw(st.integers(0, 9)),
        meta=life,
    )


NAMESPACES = st.builds(lambda name, labels: namespace(name, **labels), NAMES, LABELS)
OBJECTS = st.one_of(any_pods(), policies(), NAMESPACES)


@st.composite
def clusters(draw: st.DrawFn) -> list[KubernetesObject]:
    """Mostly pods and policies that concern each other."""
    return [
        *draw(st.lists(NAMESPACES, max_size=2)),
        *draw(st.lists(any_pods(), min_size=2, max_size=6)),
        *draw(st.lists(policies(), min_size=1, max_size=4)),
    ]
