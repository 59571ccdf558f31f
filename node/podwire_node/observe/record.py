"""One drop, or one translation, as a record: Hubble's flow in JSON, and why.

A program that reads `hubble observe --output json` finds its fields here under its names
(cilium/cilium, api/v1/flow/flow.proto). What Hubble has no field for:

kind           isolated, denied, unknown, borrowed, cut (podwire_policy.reasons.Kind); refused
reason         a sentence
nearest_miss   a sentence: the rule that came closest to allowing it, and what it lacked
chain          of the kernel's tables, where it was dropped
dialled        what a program asked for: 10.96.0.13:80; where it went is the destination
netns_cookie   the network namespace of a socket whose pod is not known

Numbers of 64 bits are texts, as in Hubble's JSON (protobuf's mapping).
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


class ServiceName(msgspec.Struct, frozen=True):
    """A Service; Hubble has no ports here."""

    name: str
    namespace: str


class EventType(msgspec.Struct, frozen=True):
    """Hubble's numbers: a drop and why, or a socket's translation and at which point."""

    type: int
    sub_type: int


class Record(msgspec.Struct, frozen=True, omit_defaults=True, rename={"ip": "IP"}, kw_only=True):
    """One packet that was dropped, or one call that was translated or refused at its socket.

    time: RFC 3339.
    """

    time: str
    verdict: str
    drop_reason: int = 0
    ip: IP
    l4: Layer4 | None = None
    source: Endpoint
    destination: Endpoint
    type: str = msgspec.field(name="Type")
    node_name: str
    event_type: EventType
    traffic_direction: str = "TRAFFIC_DIRECTION_UNKNOWN"
    drop_reason_desc: str = ""
    egress_denied_by: tuple[DeniedBy, ...] = ()
    ingress_denied_by: tuple[DeniedBy, ...] = ()
    destination_service: ServiceName | None = None
    sock_xlate_point: str = ""
    socket_cookie: str = ""
    cgroup_id: str = ""
    summary: str = msgspec.field(name="Summary")
    kind: str = ""
    reason: str = ""
    nearest_miss: str = ""
    chain: str = ""
    dialled: str = ""
    netns_cookie: str = ""
