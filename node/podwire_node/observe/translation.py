"""From what a program tells of a socket to its record: names for namespaces and addresses. Pure.

    connect(10.96.0.13:80)  ─►  10.244.2.5:8080          TRANSLATED, after it (POST_DIRECTION_FWD)
    an answer from 10.244.2.5:8080, as from 10.96.0.13:80            TRANSLATED, reverse (…_REV)
    connect(10.96.0.14:80)  ─►  no endpoint: ECONNREFUSED                               DROPPED

Hubble tells of the first in two flows, before and after; here it is one, with what was dialled
beside it. At connect() a socket may have no address yet: its source is its pod's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from podwire_core.family import Family, family_of
from podwire_ebpf.records import Event, FrontendKey
from podwire_node.observe.naming import Ground, endpoint, rfc3339
from podwire_node.observe.record import (
    IP,
    Endpoint,
    EventType,
    L4Ports,
    Layer4,
    Record,
    ServiceName,
)

TRANSLATED, DROPPED = "TRANSLATED", "DROPPED"
REFUSED = "refused"

_TRACE_SOCK = 7  # Hubble's MessageTypeTraceSock
_POST_FWD, _POST_REV = 2, 4  # its SocketTranslationPoint
_POINTS = {
    _POST_FWD: "SOCK_XLATE_POINT_POST_DIRECTION_FWD",
    _POST_REV: "SOCK_XLATE_POINT_POST_DIRECTION_REV",
}
_NO_BACKEND = (158, "SERVICE_BACKEND_NOT_FOUND")  # its DropReason
_PROTOCOLS = {6: "TCP", 17: "UDP"}
#: enum bpf_attach_type, by the call of a program's.
_CALLS = {
    10: "connect",
    11: "connect",
    14: "sendto",
    15: "sendto",
    19: "recvfrom",
    20: "recvfrom",
    29: "getpeername",
    30: "getpeername",
}
_ANY = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}
_REVERSE = frozenset({"recvfrom", "getpeername"})


@dataclass(frozen=True)
class SocketGround:
    """What names are found in. addresses: of a network namespace, by its cookie; None: not known.

    own: the node's namespace, 0 while that is not known. services: by what is dialled, a NodePort
    by its family's unspecified address; namespace/name:port.
    """

    ground: Ground
    addresses: Callable[[int], tuple[str, ...] | None]
    own: int
    services: Mapping[FrontendKey, str]

    def service(self, event: Event) -> str:
        """Its label, "" of one that is no more."""
        key = FrontendKey(event.dialled, event.dialled_port, event.protocol)
        wild = key._replace(address=_ANY[family_of(event.dialled)])
        return self.services.get(key) or self.services.get(wild, "")


def translated(event: Event, seconds: float, known: SocketGround) -> Record:
    """Its record. seconds: when, since 1970."""
    call = _CALLS.get(event.hook, f"hook {event.hook}")
    point = _POST_REV if call in _REVERSE else _POST_FWD
    refused = not event.endpoint
    to, port = (
        (event.dialled, event.dialled_port) if refused else (event.endpoint, event.endpoint_port)
    )
    family = family_of(to)
    source, address = _source(event.namespace, family, known)
    protocol = _PROTOCOLS.get(event.protocol, f"IP protocol {event.protocol}")
    label = known.service(event)
    number, word = _NO_BACKEND if refused else (0, "")
    return Record(
        time=rfc3339(seconds),
        verdict=DROPPED if refused else TRANSLATED,
        drop_reason=number,
        ip=IP(address, to, family),
        l4=_layer4(protocol, port),
        source=source,
        destination=endpoint(to, known.ground) if not refused else Endpoint(),
        type="SOCK",
        node_name=known.ground.node,
        event_type=EventType(_TRACE_SOCK, point),
        drop_reason_desc=word,
        destination_service=_service_name(label),
        sock_xlate_point=_POINTS[point],
        socket_cookie=str(event.socket),
        cgroup_id=str(event.cgroup) if event.cgroup else "",
        summary=f"{protocol} {call}",
        kind=REFUSED if refused else "",
        reason=_refusal(label) if refused else "",
        dialled=_place(event.dialled, event.dialled_port),
        netns_cookie="" if source.pod_name or source.labels else str(event.namespace),
    )


def _source(cookie: int, family: Family, known: SocketGround) -> tuple[Endpoint, str]:
    """Who called, and its address of a family; both are empty where nobody knows."""
    if cookie and cookie == known.own:
        return Endpoint(labels=("reserved:host",)), ""
    addresses = known.addresses(cookie) or ()
    for address in addresses:
        found = endpoint(address, known.ground)
        if found.pod_name:
            own = (each for each in addresses if family_of(each) is family)
            return found, next(own, "")
    return Endpoint(), next((each for each in addresses if family_of(each) is family), "")


def _service_name(label: str) -> ServiceName | None:
    """Of namespace/name:port."""
    namespace, _, rest = label.partition("/")
    return ServiceName(rest.partition(":")[0], namespace) if rest else None


def _layer4(protocol: str, port: int) -> Layer4 | None:
    ports = L4Ports(0, port)
    match protocol:
        case "TCP":
            return Layer4(TCP=ports)
        case "UDP":
            return Layer4(UDP=ports)
    return None


def _refusal(label: str) -> str:
    who = f"Service {label}" if label else "the Service"
    return f"{who} has no endpoint: the call was refused at once, no packet was sent"


def _place(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
