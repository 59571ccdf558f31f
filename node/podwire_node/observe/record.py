"""One drop as a record: Hubble's flow in JSON, and why.

A program that reads `hubble observe --output json` finds its fields here under its names
(cilium/cilium, api/v1/flow/flow.proto). What Hubble has no field for:

kind           isolated, denied, unknown, borrowed, cut (podwire_policy.reasons.Kind)
reason         a sentence
nearest_miss   a sentence: the rule that came closest to allowing it, and what it lacked
chain          of the kernel's tables, where it was dropped
"""

from __future__ import annotations

import msgspec


class IP(msgspec.Struct, frozen=True, rename={"ip_version": "ipVersion"}):
    """Both addresses as the packet has them: after DNAT. ip_version: IPv4 or IPv6."""

    source: str
    destination: str
    ip_version: str


class L4Ports(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ports, and TCP's flags, of which those that are set are there."""

    source_port: int
    destination_port: int
    flags: dict[str, bool] = {}


class L4Message(msgspec.Struct, frozen=True):
    """An ICMP message's type and code."""

    type: int
    code: int


class Layer4(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of these."""

    TCP: L4Ports | None = None
    UDP: L4Ports | None = None
    SCTP: L4Ports | None = None
    ICMPv4: L4Message | None = None
    ICMPv6: L4Message | None = None

    @property
    def ports(self) -> L4Ports | None:
        """Its ports, of a protocol that has them."""
        return self.TCP or self.UDP or self.SCTP


class Endpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pod; or what else is there, by a label: reserved:host, reserved:remote-node, …:world."""

    namespace: str = ""
    labels: tuple[str, ...] = ()
    pod_name: str = ""


class DeniedBy(msgspec.Struct, frozen=True, omit_defaults=True):
    """A policy. namespace: "" of a cluster's."""

    name: str
    kind: str
    namespace: str = ""


class EventType(msgspec.Struct, frozen=True):
    """Hubble's numbers for a drop, and why."""

    type: int
    sub_type: int


class Record(msgspec.Struct, frozen=True, omit_defaults=True, rename={"ip": "IP"}, kw_only=True):
    """One packet that was dropped. seconds since 1970 are `time`, as RFC 3339."""

    time: str
    verdict: str
    drop_reason: int
    ip: IP
    l4: Layer4 | None = None
    source: Endpoint
    destination: Endpoint
    type: str = msgspec.field(name="Type")
    node_name: str
    event_type: EventType
    traffic_direction: str = "TRAFFIC_DIRECTION_UNKNOWN"
    drop_reason_desc: str
    egress_denied_by: tuple[DeniedBy, ...] = ()
    ingress_denied_by: tuple[DeniedBy, ...] = ()
    summary: str = msgspec.field(name="Summary")
    kind: str = ""
    reason: str = ""
    nearest_miss: str = ""
    chain: str = ""
