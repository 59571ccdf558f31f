"""The cluster's names, pure: which records stand for the objects, and what a question gets.

    NAME.NS.svc.cluster.local                A, AAAA   cluster addresses; headless: ready endpoints
    NAME.NS.svc.cluster.local                CNAME     an ExternalName
    _PORT._PROTO.NAME.NS.svc.cluster.local   SRV       a named port; headless: each ready endpoint
    HOST.NAME.NS.svc.cluster.local           A, AAAA   a headless Service's endpoint: its hostname,
                                                       else its address with dashes
    10-244-1-5.NS.pod.cluster.local          A, AAAA   a pod
    ….in-addr.arpa, ….ip6.arpa               PTR       cluster addresses and headless endpoints

A name that stands, or that others stand below, is never NXDOMAIN: asked for what it lacks, the
answer is empty. All else is NXDOMAIN, names outside cluster.local too: resolvers ask the whole
search list first and want a quick no, and the lab knows of no world beyond it. REFUSED would be
as true, but musl waits five seconds after it, and glibc asks again.

Source: the DNS-based service discovery specification 1.1.0 (kubernetes/dns).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from podwire_core.family import Family, family_of
from podwire_core.objects import EndpointPort, ObjectName
from podwire_core.snapshot import Snapshot
from podwire_lab.workloads import LabEndpoint, LabEndpointSlice, LabPod, LabService

ORIGIN = "cluster.local"
SERVICES = f"svc.{ORIGIN}"
MAX_ALIASES = 8

_LABEL = r"[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


class Type(StrEnum):
    """Record types the zone holds."""

    A = "A"
    AAAA = "AAAA"
    CNAME = "CNAME"
    PTR = "PTR"
    SRV = "SRV"
    TXT = "TXT"


_POINTS = {Type.CNAME, Type.PTR, Type.SRV}


class Record(NamedTuple):
    """One record. data: an address, a name or a text; port: SRV alone has one."""

    name: str
    type: Type
    data: str
    port: int = 0


@dataclass(frozen=True)
class Answer:
    """What a question gets. `exists` false is NXDOMAIN; without records it is an empty answer.

    authority: whose SOA goes with a negative answer.
    """

    exists: bool
    records: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authority: str = ORIGIN


class Zone:
    """Every record of a snapshot, by name."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._records: dict[str, set[Record]] = {}
        self._names: set[str] = set()
        for record in filter(_fits_the_wire, _records(snapshot)):
            self._records.setdefault(record.name, set()).add(record)
            self._names.update(_upwards(record.name))

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def find(self, name: str, wanted: Type | None) -> tuple[Record, ...]:
        """Records of a name and a type (None: of all), in one order."""
        found = self._records.get(name, ())
        return tuple(sorted(row for row in found if wanted in {None, row.type}))


def answer(name: str, wanted: Type | None, zone: Zone) -> Answer:
    """What the zone says to a question. The name is in lower case, without its last dot."""
    records: list[Record] = []
    for _ in range(MAX_ALIASES):
        found = zone.find(name, wanted)
        aliases = zone.find(name, Type.CNAME)
        records += found or aliases
        if found or not aliases:
            break
        name = aliases[0].data
    targets = sorted({row.data for row in records if row.type is Type.SRV})
    additional = (row for target in targets for row in zone.find(target, None))
    inside = name == ORIGIN or name.endswith(f".{ORIGIN}")
    return Answer(
        exists=bool(records) or name in zone,
        records=tuple(records),
        additional=tuple(row for row in additional if row.type in {Type.A, Type.AAAA}),
        authority=ORIGIN if inside else "",
    )


def _fits_the_wire(record: Record) -> bool:
    """Whether its names are DNS names; an API object's may be longer than DNS can carry."""
    names = [record.name] + [record.data] * (record.type in _POINTS)
    return all(len(name) <= 250 and _NAME.fullmatch(name) for name in names)


def _upwards(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]


# ------------------------------------------------------------------- objects to records


def _records(snapshot: Snapshot) -> Iterator[Record]:
    yield Record(f"dns-version.{ORIGIN}", Type.TXT, "1.1.0")
    slices: dict[ObjectName, list[LabEndpointSlice]] = {}
    for each in snapshot.all(LabEndpointSlice):
        if each.service and each.address_type != "FQDN":
            slices.setdefault(each.service, []).append(each)
    for service in snapshot.all(LabService):
        if service.headless:
            yield from _headless(service, slices.get(service.name, []))
        else:
            yield from _with_addresses(service)
    for pod in snapshot.all(LabPod):
        for ip in pod.ips:
            yield _address(f"{_dashed(ip)}.{pod.name.namespace}.pod.{ORIGIN}", ip)


def name_of(service: LabService) -> str:
    """A Service's name in DNS."""
    return f"{service.name.name}.{service.name.namespace}.{SERVICES}".lower()


def _with_addresses(service: LabService) -> Iterator[Record]:
    name = name_of(service)
    if service.spec.type == "ExternalName" and service.spec.external_name:
        yield Record(name, Type.CNAME, service.spec.external_name.rstrip(".").lower())
    for ip in service.cluster_ips:
        yield _address(name, ip)
        yield _pointer(ip, name)
    for port in service.spec.ports or ():
        if port.name and service.cluster_ips:
            yield Record(f"_{port.name}._{port.protocol.nft}.{name}", Type.SRV, name, port.port)


def _headless(service: LabService, slices: list[LabEndpointSlice]) -> Iterator[Record]:
    name = name_of(service)
    for each in slices:
        for endpoint in each.endpoints or ():
            if endpoint.ready and endpoint.addresses:
                yield from _endpoint(name, endpoint, each.ports or ())


def _endpoint(
    service: str, endpoint: LabEndpoint, ports: tuple[EndpointPort, ...]
) -> Iterator[Record]:
    ip = endpoint.addresses[0]
    name = f"{(endpoint.hostname or _dashed(ip)).lower()}.{service}"
    yield _address(service, ip)
    yield _address(name, ip)
    yield _pointer(ip, name)
    for port in ports:
        if port.name and port.port:
            yield Record(f"_{port.name}._{port.protocol.nft}.{service}", Type.SRV, name, port.port)


def _address(name: str, ip: str) -> Record:
    return Record(name, Type.A if family_of(ip) is Family.IPV4 else Type.AAAA, ip)


def _pointer(ip: str, name: str) -> Record:
    return Record(ipaddress.ip_address(ip).reverse_pointer, Type.PTR, name)


def _dashed(ip: str) -> str:
    """10-244-1-5; an IPv6 address in full, because a name may not begin or end with a dash."""
    return ipaddress.ip_address(ip).exploded.replace(":", "-").replace(".", "-")
