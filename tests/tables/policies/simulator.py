"""Who should reach whom: NetworkPolicy in forty lines over plain labels, for tables only.

It reads the specs as they are written, and shares nothing with the product: not the decoding,
not the selectors, not the oracle. So it knows only what the tables use, and a table's answer is
wrong together with the product's only if someone misread the API twice.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from podwire_core.family import Family
from policies.world import PLACES, Labels, Places, Spec, State

Asked = tuple[str, str, str, int]  # source, destination, protocol, port


def reaches(
    state: State, asked: Asked, family: Family = Family.IPV4, places: Places = PLACES
) -> bool:
    """Whether a pod reaches a pod's port; both are in the state."""
    source, destination, protocol, port = asked
    if source == destination:
        return True
    return _allows(state, "Egress", source, destination, protocol, port, family, places) and (
        _allows(state, "Ingress", destination, source, protocol, port, family, places)
    )


def _allows(
    state: State,
    direction: str,
    subject: str,
    peer: str,
    protocol: str,
    port: int,
    family: Family,
    places: Places,
) -> bool:
    section, ends = ("ingress", "from") if direction == "Ingress" else ("egress", "to")
    isolating = [
        (name, spec)
        for name, spec in state.policies.items()
        if _inside(name, subject)
        and _selected(spec.get("podSelector", {}), state.pods[subject])
        and direction in _types(spec)
    ]
    address = places.addresses[peer][family]
    return not isolating or any(
        (not rule.get(ends) or any(_is(state, row, name, peer, address) for row in rule[ends]))
        and (not rule.get("ports") or any(_has(row, protocol, port) for row in rule["ports"]))
        for name, spec in isolating
        for rule in spec.get(section, ())
    )


def _types(spec: Spec) -> list[str]:
    return list(spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])])


def _inside(one: str, other: str) -> bool:
    """Whether two objects are of one namespace."""
    return one.partition("/")[0] == other.partition("/")[0]


def _is(state: State, row: Mapping[str, Any], policy: str, peer: str, address: str) -> bool:
    if block := row.get("ipBlock"):
        ip = ipaddress.ip_address(address)
        cut = any(ip in ipaddress.ip_network(hole) for hole in block.get("except", ()))
        return ip in ipaddress.ip_network(block["cidr"]) and not cut
    namespace = peer.partition("/")[0]
    if "namespaceSelector" in row:
        labels = {**state.namespaces[namespace], "kubernetes.io/metadata.name": namespace}
        here = _selected(row["namespaceSelector"], labels)
    else:
        here = _inside(policy, peer)
    return here and _selected(row.get("podSelector", {}), state.pods[peer])


def _has(row: Mapping[str, Any], protocol: str, port: int) -> bool:
    wanted = row.get("port")
    if row.get("protocol", "TCP") != protocol:
        return False
    if isinstance(wanted, str):
        return wanted == f"serve-{port}-{protocol.lower()}"
    return wanted is None or wanted <= port <= row.get("endPort", wanted)


def _selected(selector: Mapping[str, Any], labels: Labels) -> bool:
    return all(
        labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()
    ) and (all(_required(row, labels) for row in selector.get("matchExpressions", ())))


def _required(row: Mapping[str, Any], labels: Labels) -> bool:
    value = labels.get(row["key"])
    match row["operator"]:
        case "In":
            return value in row["values"]
        case "NotIn":
            return value not in row["values"]
        case "Exists":
            return value is not None
    return value is None
