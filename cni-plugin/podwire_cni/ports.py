"""hostPorts: what runtimeConfig.portMappings asks for, and when two of them cannot both be.

```
 {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "192.0.2.1"}
```

| hostIP            | the port is taken at                         |
|-------------------|----------------------------------------------|
| absent, ""        | every address of the node                    |
| "0.0.0.0", "::"   | every address of that family                 |
| any other address | that one                                     |

Two mappings collide when protocol and host port are the same and their addresses overlap.
Source: CONVENTIONS.md of the CNI specification, "portMappings".
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from podwire_cni.errors import BadConfig
from podwire_cni.fields import JsonObject, integer, objects, quoted, spelled, typed

Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]

#: `podman run -p 8000-8999:8000-8999` sends a thousand. All of them go into one transaction.
MOST_MAPPINGS = 1024
_KEY = "runtimeConfig.portMappings"
PROTOCOLS: dict[str, Protocol] = {word: word for word in get_args(Protocol)}
_EVERYWHERE = ""
_LOCALHOST = ipaddress.IPv4Network("127.0.0.0/8")
_WILDCARDS = {"0.0.0.0": 4, "::": 6}


@dataclass(frozen=True, slots=True, order=True)
class PortMapping:
    """One port of the node that leads to one of the pod.

    host_port, container_port: 1 to 65535.  host_ip: an address in its canonical form, or ""
    for any of the node's; "0.0.0.0" and "::" mean any of that family.
    """

    host_port: int
    container_port: int
    protocol: Protocol
    host_ip: str = _EVERYWHERE

    def collides(self, other: "PortMapping") -> bool:
        """Whether a packet could be meant for either."""
        same = (self.protocol, self.host_port) == (other.protocol, other.host_port)
        return same and _overlap(self.host_ip, other.host_ip)

    @property
    def at_localhost(self) -> bool:
        """Whether the node's own processes reach it at an address in 127.0.0.0/8."""
        if self.host_ip in {_EVERYWHERE, "0.0.0.0"}:
            return True
        return ipaddress.ip_address(self.host_ip) in _LOCALHOST

    def __str__(self) -> str:
        where = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{where or '*'}:{self.host_port}/{self.protocol}"


def parse_ports(value: object) -> tuple[PortMapping, ...]:
    """Read runtimeConfig.portMappings, in its order and without repetitions.

    A hostPort of 0 or none asks for nothing. Raises BadConfig that names index and field.
    """
    found: dict[PortMapping, int] = {}
    for index, item in enumerate(objects(_KEY, value, MOST_MAPPINGS)):
        fields = spelled(item, "hostPort", "containerPort", "protocol", "hostIP")
        mapping = _mapping(fields, f"{_KEY}[{index}].")
        if mapping is not None and mapping not in found:
            found[mapping] = index
    _require_apart(found)
    return tuple(found)


def _mapping(item: JsonObject, where: str) -> PortMapping | None:
    host_port = integer(item, "hostPort", 0, 65535, where)
    if not host_port:
        return None
    container_port = integer(item, "containerPort", 1, 65535, where)
    if container_port is None:
        raise BadConfig(f"{where}containerPort: missing")
    return PortMapping(host_port, container_port, _protocol(item, where), _host_ip(item, where))


def _protocol(item: JsonObject, where: str) -> Protocol:
    # Absent means TCP, as in a Kubernetes ContainerPort.
    word = typed(item, "protocol", str, "a string", where) or "tcp"
    try:
        return PROTOCOLS[word.lower()]
    except KeyError:
        raise BadConfig(f"{where}protocol: {quoted(word)} is not tcp, udp or sctp") from None


def _host_ip(item: JsonObject, where: str) -> str:
    text = typed(item, "hostIP", str, "a string", where)
    if not text:
        return _EVERYWHERE
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise BadConfig(f"{where}hostIP: {quoted(text)} is not an address") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise BadConfig(f"{where}hostIP: {quoted(text)} has a zone, which nothing honours")
        address = address.ipv4_mapped or address
    if address.is_multicast:
        raise BadConfig(f"{where}hostIP: {quoted(text)} is a multicast address")
    return str(address)


def _require_apart(found: dict[PortMapping, int]) -> None:
    """Raise BadConfig that names the first two of one pod's mappings that collide."""
    seen: dict[tuple[str, int], list[PortMapping]] = {}
    for mapping, index in found.items():
        others = seen.setdefault((mapping.protocol, mapping.host_port), [])
        if twin := _first_collision(mapping, others):
            raise BadConfig(
                f"{_KEY}[{index}]: {mapping} is asked for by [{found[twin]}] as well, as {twin}"
            )
        others.append(mapping)


def _first_collision(mapping: PortMapping, others: Sequence[PortMapping]) -> PortMapping | None:
    """The first of the others that the mapping collides with."""
    return next((other for other in others if mapping.collides(other)), None)


def _overlap(one: str, other: str) -> bool:
    if one == other or _EVERYWHERE in {one, other}:
        return True
    wild = {_WILDCARDS[word] for word in (one, other) if word in _WILDCARDS}
    return wild == {_version(one)} == {_version(other)}


def _version(address: str) -> int:
    return 6 if ":" in address else 4
