"""A frontend and its slots as nft objects, and back from what the kernel holds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

from podwire_core.family import Family, family_of, spelled
from podwire_core.nft.objects import Element, Key, Object
from podwire_core.nft.statements import goto
from podwire_proxy import skeleton
from podwire_proxy.frontend import Backend, Frontend, Via


def frontend_objects(
    frontend: Frontend, label: str, slots: tuple[Backend, ...]
) -> Iterator[Object]:
    """Everything one frontend needs in force; a part of it others need too (see shares).

    The verdict that leads to it comes last.
    """
    home = skeleton.table(frontend.family)
    nodeport = frontend.via is Via.NODE_PORT
    for number, backend in enumerate(slots):
        key = _slot_parts(frontend, number)
        yield Element(home, _endpoint_map(frontend), key, (backend.address, str(backend.port)))
        yield Element(home, skeleton.HAIRPIN, (backend.address, backend.address))
    if frontend.via is Via.CLUSTER_IP:
        yield Element(home, skeleton.CLUSTER_IPS, (frontend.address,))
    else:
        yield Element(home, skeleton.EXTERNAL_NODEPORTS, frontend.parts)
    if slots:
        chain = skeleton.choose(frontend.family, frontend.protocol, len(slots), nodeport=nodeport)
        yield chain
        source = skeleton.NODEPORTS if nodeport else skeleton.FRONTENDS
        yield Element(home, source, frontend.parts, goto(chain.name), label)
    else:
        refusals = skeleton.UNAVAILABLE_NODEPORTS if nodeport else skeleton.UNAVAILABLE
        yield Element(home, refusals, frontend.parts, goto(skeleton.REFUSE), label)


def slots_in_force(frontend: Frontend, state: Mapping[Key, str]) -> tuple[Backend, ...]:
    """The slots that the kernel holds for a frontend: how a restarted proxy goes on."""
    prefix = (*skeleton.table(frontend.family).key, "element", _endpoint_map(frontend))
    found: list[Backend] = []
    while True:
        key: Key = (*prefix, " . ".join(_slot_parts(frontend, len(found))))
        if key not in state:
            return tuple(found)
        address, _, port = state[key].partition("\n")[0].partition(" . ")
        if not port.isdigit():
            return tuple(found)
        found.append(Backend(address, int(port)))


def cluster_elements(node_ips: Iterable[str], pod_cidrs: Iterable[str]) -> Iterator[Element]:
    """The node's own addresses, and where all pods live (disjoint, as interval sets need)."""
    for address in sorted(set(node_ips)):
        yield Element(skeleton.table(family_of(address)), skeleton.NODE_IPS, (address,))
    known = sorted(set(pod_cidrs))
    v4 = (ipaddress.IPv4Network(cidr) for cidr in known if family_of(cidr) is Family.IPV4)
    v6 = (ipaddress.IPv6Network(cidr) for cidr in known if family_of(cidr) is Family.IPV6)
    for v4_network in ipaddress.collapse_addresses(v4):
        yield _pod_cidr(spelled(v4_network))
    for v6_network in ipaddress.collapse_addresses(v6):
        yield _pod_cidr(spelled(v6_network))


def _pod_cidr(network: str) -> Element:
    """An element of pod-cidrs; nft lists a network of one address without its length."""
    family = family_of(network)
    return Element(
        skeleton.table(family), skeleton.POD_CIDRS, (network.removesuffix(f"/{family.bits}"),)
    )


def _endpoint_map(frontend: Frontend) -> str:
    return skeleton.endpoints(frontend.protocol, nodeport=frontend.via is Via.NODE_PORT)


def _slot_parts(frontend: Frontend, number: int) -> tuple[str, ...]:
    """`10.96.0.10 . 80 . 0`: the protocol is the map's."""
    address = (frontend.address,) if frontend.address else ()
    return (*address, str(frontend.port), str(number))
