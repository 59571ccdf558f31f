"""The socket programs' twin over the maps' rows: naive, in dictionaries, and it tells every choice.

    programs = SocketPrograms()
    programs.apply(sockets.take())
    programs.connect("c", "10.96.0.10", 80, 6)      # Call: passed, refused, or where it may go
    programs.send("c", 7, "10.96.0.10", 53)         # the same of socket 7, that does not connect

A client is the name of a network namespace; the node's own is `node`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NamedTuple

from podwire_core.family import family_of
from podwire_ebpf.records import (
    Endpoint,
    EndpointKey,
    Frontend,
    FrontendKey,
    Member,
    MemberKey,
    Scope,
)
from podwire_ebpf.rows import Change
from podwire_proxy.sockets.wishes import ANY

NODE = "node"
UDP = 17
READY = Member(1)


class Call(NamedTuple):
    """What became of connect(). endpoints: any of these; none and not passed: refused."""

    passed: bool
    endpoints: frozenset[Endpoint] = frozenset()


class HoleError(Exception):
    """A frontend leads to a slot that is not there: a socket would pass to nftables."""


@dataclass
class SocketPrograms:
    """localhost: NodePorts answer at the loopback. memory: (client, list) → endpoint, when.

    conversations: (socket, address, port) → endpoint, of sockets of UDP that do not connect.
    """

    localhost: bool = False
    frontends: dict[FrontendKey, Frontend] = field(default_factory=dict)
    endpoints: dict[EndpointKey, Endpoint] = field(default_factory=dict)
    members: dict[MemberKey, Any] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    memory: dict[tuple[str, int], tuple[Endpoint, float]] = field(default_factory=dict)
    conversations: dict[tuple[int, str, int], Endpoint] = field(default_factory=dict)

    def apply(self, change: Change) -> None:
        """Rows come and go."""
        for table, rows in (
            (self.frontends, change.frontends),
            (self.endpoints, change.endpoints),
            (self.members, change.members),
        ):
            for key, value in rows.items():
                if value is None:
                    del table[key]  # type: ignore[attr-defined] # three tables, each with its own keys
                else:
                    table[key] = value  # type: ignore[index] # the same
        for address, there in change.addresses.items():
            (self.addresses.add if there else self.addresses.remove)(address)

    def connect(
        self, client: str, address: str, port: int, protocol: int, now: float = 0.0
    ) -> Call:
        """Where a call may go. Raises HoleError."""
        found = self._frontend(client, address, port, protocol)
        if found is None:
            return Call(passed=True)
        known = self._remembered(client, found, now)
        return Call(passed=False, endpoints=frozenset({known} if known else self._slots(found)))

    def went(
        self, client: str, address: str, port: int, protocol: int, to: Endpoint, now: float = 0.0
    ) -> None:
        """A call went to one of its endpoints, which is remembered where the list remembers."""
        found = self._frontend(client, address, port, protocol)
        assert found is not None
        if found.affinity:
            self.memory[client, found.list] = (to, now)

    def send(self, client: str, socket: int, address: str, port: int) -> Call:
        """Where a datagram may go; the socket then stays with one of them. Raises HoleError."""
        found = self._frontend(client, address, port, UDP)
        before = self.conversations.get((socket, address, port))
        if found and found.count and before and MemberKey(found.list, *before) in self.members:
            return Call(passed=False, endpoints=frozenset({before}))
        call = self.connect(client, address, port, UDP)
        if call.endpoints:
            one = sorted(call.endpoints)[socket % len(call.endpoints)]
            self.conversations[socket, address, port] = one
        return call

    def _frontend(self, client: str, address: str, port: int, protocol: int) -> Frontend | None:
        exact = self.frontends.get(FrontendKey(address, port, protocol, Scope.INSIDE))
        if exact or not self._is_own(client, address):
            return exact
        return self.frontends.get(FrontendKey(ANY[family_of(address)], port, protocol))

    def _is_own(self, client: str, address: str) -> bool:
        if ip_address(address).is_loopback:
            return self.localhost and client == NODE
        return address in self.addresses

    def _remembered(self, client: str, found: Frontend, now: float) -> Endpoint | None:
        endpoint, last = self.memory.get((client, found.list), (None, 0.0))
        if endpoint is None or not found.affinity or now - last > found.affinity:
            return None
        return endpoint if self.members.get(MemberKey(found.list, *endpoint)) == READY else None

    def _slots(self, found: Frontend) -> Iterator[Endpoint]:
        for slot in range(found.count):
            if slot < len(found.first):
                yield found.first[slot]
                continue
            endpoint = self.endpoints.get(EndpointKey(found.list, slot))
            if endpoint is None:
                raise HoleError(found, slot)
            yield endpoint
