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

from collections.abc import Collection, Iterable, Mapping, Sequence
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


class Checked(NamedTuple):
    """A slice whose addresses were looked at. usable: each endpoint by the address that counts.

    wrong: those that are not of the slice's addressType or lead nowhere, by their index.
    """

    slice: EndpointSlice
    usable: Sequence[tuple[str, Endpoint]]
    wrong: Mapping[int, str]


def checked(each: EndpointSlice) -> Checked:
    """Look at every address of a slice once, whatever the number of ports that lead there."""
    usable: list[tuple[str, Endpoint]] = []
    wrong: dict[int, str] = {}
    for index, endpoint in enumerate(each.endpoints or ()):
        address = endpoint.addresses[0] if endpoint.addresses else ""
        if not address or each.address_type == "FQDN":
            continue
        if family_of(address) != each.address_type or is_special(address):
            wrong[index] = address
        else:
            usable.append((address, endpoint))
    return Checked(each, usable, wrong)


def endpoints_of(
    slices: Iterable[Checked], port: ServicePort, family: Family, place: Place
) -> Endpoints:
    """The endpoints of one port; see the module."""
    found, here = _candidates(slices, port, family, place)
    everyone = frozenset(found)
    near = {address for address, _ in here}  # a slice need not say where its endpoints are
    near.update(backend.address for backend, each in found.items() if not each.node_name)
    if all(each.ready for each in found.values()):  # so nearly always
        close = _by_topology(found, place)
        cluster = everyone if close is found else frozenset(close)
        return Endpoints(cluster, frozenset(here), everyone, frozenset(near))
    ready = {backend: each for backend, each in found.items() if each.ready}
    ends = {backend for backend, each in found.items() if _ends(each)}
    return Endpoints(
        frozenset(_by_topology(ready, place) or ends),
        frozenset(here & ready.keys() or here & ends),
        frozenset(backend for backend, each in found.items() if each.ready or each.serving),
        frozenset(near),
    )


def _candidates(
    slices: Iterable[Checked], port: ServicePort, family: Family, place: Place
) -> tuple[dict[Backend, Endpoint], set[Backend]]:
    """Everyone of a port, and who of them is on our node."""
    found: dict[Backend, Endpoint] = {}
    here: set[Backend] = set()
    for each in slices:
        if each.slice.address_type != family:
            continue
        for row in each.slice.ports or ():
            if not row.port or not _joins(row, port):
                continue
            for address, endpoint in each.usable:
                backend = Backend(address, row.port)
                known = found.get(backend)
                if known is None or _rank(known) < _rank(endpoint):
                    found[backend] = endpoint
                if endpoint.node_name == place.node and place.node:
                    here.add(backend)
    return found, here


def _ends(endpoint: Endpoint) -> bool:
    return endpoint.terminating and endpoint.serving


def _rank(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    """How much it can do: of two copies of an endpoint, in two slices, the higher counts.

    One that moves from a slice to another is in both for a moment.
    """
    return (endpoint.ready, _ends(endpoint), endpoint.ready or endpoint.serving)


def _joins(row: EndpointPort, port: ServicePort) -> bool:
    """A name that is not there is empty: the API server's default (discovery.k8s.io/v1)."""
    return (row.name or "") == port.name and row.protocol is port.protocol


def _by_topology(ready: Mapping[Backend, Endpoint], place: Place) -> Collection[Backend]:
    """Those that hints give to our node, else to our zone; all, where one has no such hint."""
    for mine, hints in ((place.node, _hinted_nodes), (place.zone, _hinted_zones)):
        if not mine or not all(hints(each) for each in ready.values()):
            continue
        if near := [backend for backend, each in ready.items() if mine in hints(each)]:
            return near
    return ready


def _hinted_nodes(endpoint: Endpoint) -> Collection[str]:
    return endpoint.hint_nodes


def _hinted_zones(endpoint: Endpoint) -> Collection[str]:
    return endpoint.hint_zones
