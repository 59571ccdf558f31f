"""EndpointSlices to the endpoints of one Service's port: who may serve whom.

    cluster    ready endpoints, by topology hints where they are complete; when none is ready,
               those that end but still serve, anywhere
    local      ready endpoints of this node; when none is, those of it that end but still serve
    serving    all that serve, ready or not: their UDP conversations go on

Endpoint ports join a Service's port by name and protocol, never by number. Conditions that are
not set mean ready, serving, not terminating. An endpoint of two slices is one, local where
either says so. Sources: KEP-1669, KEP-2433, discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from podwire_core.family import Family, family_of
from podwire_core.objects import Endpoint, EndpointPort, EndpointSlice, ServicePort
from podwire_proxy.cidrs import is_special
from podwire_proxy.frontend import Backend

_NOBODY: frozenset[Backend] = frozenset()


@dataclass(frozen=True)
class Place:
    """Where we are: our node's name, its zone ("" when not known), its addresses."""

    node: str
    zone: str = ""
    ips: tuple[str, ...] = ()


class Endpoints(NamedTuple):
    """Lists of one Service's port and one family; near: see Plan."""

    cluster: frozenset[Backend] = _NOBODY
    local: frozenset[Backend] = _NOBODY
    serving: frozenset[Backend] = _NOBODY
    near: frozenset[str] = frozenset()


class _Candidate(NamedTuple):
    endpoint: Endpoint
    local: bool

    @property
    def ends(self) -> bool:
        conditions = self.endpoint.conditions
        return conditions.terminating is True and conditions.serving is not False

    @property
    def serves(self) -> bool:
        return self.endpoint.ready or self.endpoint.conditions.serving is not False

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """How much it can do: of two copies of an endpoint, the higher counts."""
        return (self.endpoint.ready, self.ends, self.serves)


def endpoints_of(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family, place: Place
) -> Endpoints:
    """The endpoints of one port; see the module."""
    found = _candidates(slices, port, family, place)
    ready = {backend: each for backend, each in found.items() if each.endpoint.ready}
    ends = {} if len(ready) == len(found) else {b: each for b, each in found.items() if each.ends}
    return Endpoints(
        frozenset(_by_topology(ready, place) or ends),
        frozenset(_local(ready) or _local(ends)),
        frozenset(backend for backend, each in found.items() if each.serves),
        frozenset(
            backend.address
            for backend, (endpoint, local) in found.items()
            if local or not endpoint.node_name  # a slice need not say where its endpoints are
        ),
    )


def _candidates(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family, place: Place
) -> dict[Backend, _Candidate]:
    found: dict[Backend, _Candidate] = {}
    for each in slices:
        numbers = [row.port for row in each.ports or () if row.port and _joins(row, port)]
        if each.address_type != family or not numbers:
            continue
        for endpoint in each.endpoints or ():
            address = endpoint.addresses[0] if endpoint.addresses else ""
            if not address or family_of(address) is not family or is_special(address):
                continue
            candidate = _Candidate(endpoint, bool(place.node) and endpoint.node_name == place.node)
            for number in numbers:
                backend = Backend(address, number)
                known = found.get(backend)
                found[backend] = candidate if known is None else _merged(known, candidate)
    return found


def _merged(one: _Candidate, other: _Candidate) -> _Candidate:
    """One endpoint of two slices, as one that moves from one to the other is for a moment."""
    best = one if one.rank >= other.rank else other
    return best._replace(local=one.local or other.local)


def _joins(row: EndpointPort, port: ServicePort) -> bool:
    """A name that is not there is empty: the API server's default (discovery.k8s.io/v1)."""
    return (row.name or "") == port.name and row.protocol is port.protocol


def _local(candidates: Mapping[Backend, _Candidate]) -> list[Backend]:
    return [backend for backend, each in candidates.items() if each.local]


def _by_topology(ready: Mapping[Backend, _Candidate], place: Place) -> Iterable[Backend]:
    """Those that hints give to our node, else to our zone; all, where one has no such hint."""
    for mine, hints in ((place.node, _hinted_nodes), (place.zone, _hinted_zones)):
        if not mine or not all(hints(each) for each in ready.values()):
            continue
        if near := [backend for backend, each in ready.items() if mine in hints(each)]:
            return near
    return ready


def _hinted_nodes(candidate: _Candidate) -> Collection[str]:
    return candidate.endpoint.hint_nodes


def _hinted_zones(candidate: _Candidate) -> Collection[str]:
    return candidate.endpoint.hint_zones
