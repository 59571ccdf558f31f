"""Names for what maps hold: Services, pods, network namespaces; as the agent tells them.

{"kind": "place", "folder": "/sys/fs/bpf/podwire", "node": "n1", "asked": "auto", "backend": "ebpf"}
{"kind": "frontend", "address": "10.96.0.13", "port": 80, "protocol": 6, "service": "shop/api:"}
{"kind": "left", "address": "10.96.0.14", "port": 80, "protocol": 6, "service": …, "reason": …}
{"kind": "pod", "address": "10.244.1.5", "pod": "shop/api-v9"}
{"kind": "namespace", "cookie": 4026, "pod": "shop/api-v9"}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from podwire_core import typed
from podwire_ebpf.records import FrontendKey
from podwire_node.control.errors import ControlError
from podwire_node.control.printable import printable_lines


class PlaceName(msgspec.Struct, frozen=True, tag_field="kind", tag="place"):
    """Whose agent it is, what serves sockets of its node, and where its maps are pinned.

    folder: "" where it loads no programs. node: "" of an agent of an earlier version, which tells
    the folder alone. asked: its proxyMode; backend: ebpf or nftables; both "" without component
    proxy. why: it is nftables, where ebpf is asked for.
    """

    folder: str = ""
    node: str = ""
    asked: str = ""
    backend: str = ""
    why: str = ""

    @property
    def unserved(self) -> str:
        """A sentence where no programs serve this node's sockets, else ""."""
        if not self.node or self.backend == "ebpf":
            return ""
        if not self.asked:
            return f"{self.node}: this agent serves no Services: it has no component proxy"
        mode = (
            "its proxyMode is nftables"
            if self.asked == "nftables"
            else "programs are not proven yet"
        )
        because = self.why or mode
        return printable_lines(f"{self.node}: nftables serves Services here: {because}")


class FrontendName(msgspec.Struct, frozen=True, tag_field="kind", tag="frontend"):
    """Whose a frontend is. address: of a NodePort its family's unspecified one."""

    address: str
    port: int
    protocol: int
    service: str


class LeftName(msgspec.Struct, frozen=True, tag_field="kind", tag="left"):
    """A frontend that nftables serves alone, and why."""

    address: str
    port: int
    protocol: int
    service: str
    reason: str

    @property
    def key(self) -> FrontendKey:
        """What is dialled."""
        return FrontendKey(self.address, self.port, self.protocol)


class PodName(msgspec.Struct, frozen=True, tag_field="kind", tag="pod"):
    """Who has an address."""

    address: str
    pod: str


class NamespaceName(msgspec.Struct, frozen=True, tag_field="kind", tag="namespace"):
    """Who has a network namespace."""

    cookie: Annotated[int, msgspec.Meta(ge=0)]
    pod: str


Name = PlaceName | FrontendName | LeftName | PodName | NamespaceName


@dataclass
class Names:
    """What is known.

    services: by what is dialled. lists, counters: by number, as the frontends' rows say. datagrams:
    cookies of sockets that are surely UDP's.
    """

    place: PlaceName = field(default_factory=PlaceName)
    services: dict[FrontendKey, str] = field(default_factory=dict)
    pods: dict[str, str] = field(default_factory=dict)
    namespaces: dict[int, str] = field(default_factory=dict)
    left: list[LeftName] = field(default_factory=list)
    lists: dict[int, str] = field(default_factory=dict)
    counters: dict[int, str] = field(default_factory=dict)
    datagrams: set[int] = field(default_factory=set)

    def add(self, name: Name) -> None:
        """Learn one."""
        match name:
            case PlaceName():
                self.place = name
            case FrontendName():
                key = FrontendKey(name.address, name.port, name.protocol)
                self.services[key] = name.service
            case LeftName():
                self.left.append(name)
            case PodName():
                self.pods[name.address] = name.pod
            case NamespaceName():
                self.namespaces[name.cookie] = name.pod

    def service(self, key: FrontendKey) -> str:
        """Its label, "" where nobody knows."""
        return self.services.get(FrontendKey(key.address, key.port, key.protocol), "")

    def dialled(self, address: str, port: int, protocol: int) -> str:
        """The label of what a socket dialled, be it a NodePort at an address of the node."""
        anywhere = "::" if ":" in address else "0.0.0.0"
        exact = self.service(FrontendKey(address, port, protocol))
        return exact or self.service(FrontendKey(anywhere, port, protocol))


def decode_names(answers: Iterable[Mapping[str, object]], into: Names | None = None) -> Names:
    """An agent's. into: what it told before it fails. Raises ControlError."""
    names = Names() if into is None else into
    try:
        for each in answers:
            names.add(typed.convert(each, Name))
    except msgspec.ValidationError as error:
        raise ControlError(f"the agent names things in other words than ours: {error}") from error
    return names
