"""Packets and a small cluster for the tests of drops: bytes as a rule logs them.

node1  shop/frontend 10.244.1.4, fd00::1:4 (app=frontend)     node2  shop/db 10.244.2.5, fd00::2:5
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from podwire_core.family import Family, family_of
from podwire_core.feed.decode import decode
from podwire_core.nflog import Logged
from podwire_core.objects import Namespace, NetworkPolicy, Node, ObjectName, Pod, PolicyType
from podwire_core.snapshot import Kind as ObjectKind
from podwire_core.snapshot import Snapshot
from podwire_node.observe.naming import Ground
from podwire_policy.oracle import Judge
from podwire_policy.reasons import Kind, PolicyName, Reason

FRONTEND, DB, NODE2, WORLD = "10.244.1.4", "10.244.2.5", "192.168.7.2", "203.0.113.9"
FRONTEND6, DB6 = "fd00::1:4", "fd00::2:5"
SHOP_DB = PolicyName("NetworkPolicy", ObjectName("shop", "db"))
CHAIN = "ingress-0123456789"


def made(kind: ObjectKind, name: str, **fields: Any) -> Any:
    namespace, _, own = name.rpartition("/")
    labels = fields.pop("labels", None)
    metadata = {"name": own, "namespace": namespace, "labels": labels}
    return decode({"metadata": metadata, **fields}, kind, "test")


def pod(name: str, node: str, *addresses: str, **labels: str) -> Any:
    status = {"phase": "Running", "podIPs": [{"ip": each} for each in addresses]}
    return made(Pod, name, spec={"nodeName": node}, status=status, labels=labels)


def node(name: str, address: str, cidr: str) -> Any:
    rows = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}]
    return made(Node, name, spec={"podCIDRs": [cidr]}, status={"addresses": rows})


def snapshot() -> Snapshot:
    rule = {
        "from": [{"podSelector": {"matchLabels": {"app": "api"}}}],
        "ports": [{"port": 5432, "protocol": "TCP"}],
    }
    return Snapshot(
        [
            made(Namespace, "shop"),
            node("node1", "192.168.7.1", "10.244.1.0/24"),
            node("node2", NODE2, "10.244.2.0/24"),
            pod("shop/frontend", "node1", FRONTEND, FRONTEND6, app="frontend"),
            pod("shop/db", "node2", DB, DB6, app="db"),
            made(
                NetworkPolicy,
                "shop/db",
                spec={"podSelector": {"matchLabels": {"app": "db"}}, "ingress": [rule]},
            ),
        ]
    )


def ground(**reasons: Reason) -> Ground:
    """Node node2; besides the reasons given, db's isolation."""
    isolated = Reason(CHAIN, Kind.ISOLATED, PolicyType.INGRESS, (SHOP_DB,))
    known = {CHAIN: isolated, **{each.chain: each for each in reasons.values()}}
    return Ground(Judge(snapshot()), known, "node2", frozenset({NODE2}))


def packet(
    source: str, destination: str, protocol: int, rest: bytes, *, more: bytes = b""
) -> bytes:
    """An IP packet. more: IPv6 headers before `rest`, the first of which has `protocol`."""
    here, there = (ipaddress.ip_address(each).packed for each in (source, destination))
    body = more + rest
    if family_of(source) is Family.IPV4:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 63, protocol, 0) + (
            here + there + body
        )
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 63) + here + there + body


def tcp(source: int, destination: int, flags: int = 2) -> bytes:
    return struct.pack("!HHIIBBHHH", source, destination, 0, 0, 5 << 4, flags, 0, 0, 0)


def ports(source: int, destination: int) -> bytes:
    return struct.pack("!HHHH", source, destination, 8, 0)


def logged(payload: bytes, prefix: str = CHAIN, seconds: float = 1_700_000_000.25) -> Logged:
    family = Family.IPV6 if payload[:1] and payload[0] >> 4 == 6 else Family.IPV4
    return Logged(prefix, family, payload, 2, 3, seconds)
