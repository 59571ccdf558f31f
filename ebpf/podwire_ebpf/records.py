"""What stands in the maps, as Python says it: one value for each struct of maps.c.

Addresses are text ("10.96.0.10", "fd00::10", "" for none) and ports plain numbers; layout.py makes
bytes of them. The names of structs and of their fields are those of maps.c.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import NamedTuple


class Scope(IntEnum):
    """Who asks: a socket of this node, or a packet that comes from outside it."""

    INSIDE = 0
    OUTSIDE = 1


class FrontendKey(NamedTuple):
    """What is dialled, by protocol 6 or 17.

    address "0.0.0.0", "::": a NodePort of that family, at each of `addresses`.
    """

    address: str
    port: int
    protocol: int
    scope: Scope = Scope.INSIDE


class Endpoint(NamedTuple):
    """Where the call goes."""

    address: str
    port: int


class Frontend(NamedTuple):
    """Who serves it: `count` endpoints of `list`; 0 refuses the call.

    first: those of slots 0 to 15, as many as there are; others stand in `endpoints`.

    affinity: seconds that a client is remembered after its last connection; 0: not at all.
    counter: where `counters` counts it, 1 to 65,535; 0: it is not counted.
    """

    list: int
    count: int  # type: ignore[assignment] # hides tuple.count, which a record has no use for
    affinity: int = 0
    counter: int = 0
    flags: int = 0
    first: tuple[Endpoint, ...] = ()


class EndpointKey(NamedTuple):
    """slot: 16 to the frontends' count - 1; those before stand in the frontend."""

    list: int
    slot: int


class MemberKey(NamedTuple):
    """An endpoint by itself, to ask whether the list still has it."""

    list: int
    address: str
    port: int


class Member(NamedTuple):
    """1: it is ready. 2: it serves while it ends; who was there before is not sent back."""

    present: int = 1


class AffinityKey(NamedTuple):
    """client: INSIDE the cookie of a network namespace, OUTSIDE an address."""

    client: str | int
    list: int
    scope: Scope = Scope.INSIDE


class Affinity(NamedTuple):
    """Where the client went; last: nanoseconds of CLOCK_MONOTONIC."""

    address: str
    port: int
    last: int


class ReverseKey(NamedTuple):
    """A socket's cookie and the endpoint it was sent to; no endpoint: the head of its chain.

    forward: what it dialled without connect(), in an endpoint's place.
    """

    socket: int
    address: str
    port: int
    forward: bool = False


class Reverse(NamedTuple):
    """What the socket dialled (forward: the endpoint it keeps); next: the chain's next entry.

    port 0: the socket has dialled the endpoint itself since, so nothing is translated back.
    """

    address: str
    port: int
    wildcard: bool = False
    next_address: str = ""
    next_port: int = 0
    next_forward: bool = False


class Peer(NamedTuple):
    """A connected TCP socket, the endpoint it has, and what it dialled (address, port)."""

    socket: int
    endpoint: str
    endpoint_port: int
    address: str
    port: int


class Counter(NamedTuple):
    """Calls of a Service's port since its counter was cleared; of UDP, conversations."""

    connections: int
    refused: int


class Flag(IntFlag):
    """What the programs are to do."""

    OBSERVED = 1
    LOCALHOST = 2


class Settings(NamedTuple):
    """node: the cookie of the node's own network namespace."""

    node: int
    flags: Flag = Flag(0)


class Canary(NamedTuple):
    """Of a socket that called a canary's address; hooks: 1 << the attach types that saw it."""

    namespace: int
    hooks: int


class Lost(NamedTuple):
    """Events for which the ring had no room."""

    events: int


class Event(NamedTuple):
    """One call translated, or refused (endpoint "").

    time: nanoseconds of CLOCK_MONOTONIC. hook: the attach type. cgroup: 0 where not known.
    """

    time: int
    namespace: int
    socket: int
    cgroup: int
    dialled: str
    endpoint: str
    dialled_port: int
    endpoint_port: int
    protocol: int
    hook: int
