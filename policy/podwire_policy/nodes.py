"""The cluster's Nodes: which addresses are theirs, and which are for pods of this one."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator

from podwire_core.nft.intervals import Span, span
from podwire_core.objects import Node, ObjectName


class Nodes:
    """All of them. here: the name of our own."""

    def __init__(self, here: str) -> None:
        self.here = here
        self.pod_cidrs: tuple[str, ...] = ()
        self._nodes: dict[ObjectName, Node] = {}
        self._holders: dict[str, int] = {}  # how many nodes have an address
        self._spans: tuple[tuple[bool, Span], ...] = ()

    def __iter__(self) -> Iterator[Node]:
        """Sorted by name."""
        return (self._nodes[name] for name in sorted(self._nodes))

    def replace(self, name: ObjectName, new: Node | None) -> Node | None:
        """Take a Node as it is now. Answers what it was."""
        old = self._nodes.pop(name, None)
        if new is not None:
            self._nodes[name] = new
        for address in new.addresses if new else ():
            self._holders[address] = self._holders.get(address, 0) + 1
        for address in old.addresses if old else ():
            self._holders[address] -= 1
            if not self._holders[address]:
                del self._holders[address]
        if name.name == self.here:
            self.pod_cidrs = new.pod_cidrs if new else ()
            self._spans = tuple((":" in cidr, span(cidr)) for cidr in self.pod_cidrs)
        return old

    def have(self, address: str) -> bool:
        """Whether it is a node's own."""
        return address in self._holders

    @property
    def addresses(self) -> Iterable[str]:
        """All that are a node's own."""
        return self._holders

    def gives(self, address: str) -> bool:
        """Whether it is one of those that this node gives to pods."""
        if not self._spans:
            return False
        is_v6 = ":" in address
        packed = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, address)
        value = int.from_bytes(packed, "big")
        return any(v6 == is_v6 and first <= value <= last for v6, (first, last) in self._spans)
