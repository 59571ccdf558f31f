"""Which port of the node leads to which port of a pod. Pure.

hostIP        where the hostPort answers
none          at every address of the node, of each family that the pod has
0.0.0.0, ::   at every address of the node of that family
an address    there alone, while the node has it

* A family that the pod does not have leads nowhere.
* ::1 and fe80::/10 lead nowhere: the kernel forwards nothing that comes from such an address, and
  IPv6 has no route_localnet. Whoever listens there on the node itself is left in peace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from podwire_cni.ports import PortMapping
from podwire_core.family import (
    FAMILIES,
    Address,
    Family,
    canonical_address,
    family_of,
    spelled,
)

#: Addresses of the node that no hostPort is served at, by family.
NOT_SERVED: dict[Family, tuple[str, ...]] = {
    Family.IPV4: (),
    Family.IPV6: ("::1", "fe80::/10"),
}
_ANY = ("0.0.0.0", "::")


class Forward(NamedTuple):
    """One port of the node. address: canonical; "" is every address that the node has.

    protocol: in nft's spelling, "tcp". server, server_port: the pod's, to which it leads.
    """

    family: Family
    address: str
    protocol: str
    port: int
    server: str
    server_port: int

    @property
    def at_localhost(self) -> bool:
        """Whether the node's own processes reach it at an address in 127.0.0.0/8."""
        if self.family is not Family.IPV4:
            return False
        return not self.address or ip_address(self.address).is_loopback


def forwards(addresses: Sequence[Address], ports: Sequence[PortMapping]) -> Iterator[Forward]:
    """What a pod's mappings come to; of several addresses of a family, the first one serves."""
    servers: dict[Family, str] = {}
    for each in map(spelled, addresses):
        servers.setdefault(family_of(each), each)
    for mapping in ports:
        if why_not(mapping, servers.keys()):
            continue
        at, protocol, port = _at(mapping.host_ip), mapping.protocol, mapping.host_port
        for family in families(mapping):
            if server := servers.get(family):
                yield Forward(family, at, protocol, port, server, mapping.container_port)


def _at(host_ip: str) -> str:
    """In nft's spelling, which is not Python's for ::1.2.3.4."""
    return "" if host_ip in {"", *_ANY} else canonical_address(host_ip)


def families(mapping: PortMapping) -> Sequence[Family]:
    """The families in which it would answer."""
    return (family_of(mapping.host_ip),) if mapping.host_ip else FAMILIES


def why_not(mapping: PortMapping, served: Collection[Family]) -> str:
    """Why a mapping leads nowhere at all, as the end of a sentence; "" when it leads somewhere."""
    if not any(each in served for each in families(mapping)):
        return f"the pod has no address of its family, as hostIP {mapping.host_ip} wants"
    at = ip_address(mapping.host_ip) if mapping.host_ip else None
    if isinstance(at, IPv6Address) and (at.is_loopback or at.is_link_local):
        return f"hostIP {mapping.host_ip} cannot be served: nothing is forwarded from there"
    return ""
