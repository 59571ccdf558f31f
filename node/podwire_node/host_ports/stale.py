"""Conversations that would go on to whoever had a hostPort before.

Connection tracking decides where a conversation goes by its first packet. A client of UDP or SCTP
that keeps its port would be sent to the pod that had the hostPort, or to the node itself, for as
long as it sends. TCP asks anew.

    hostPort     what is to be forgotten                              when
    comes        to its place, unless its pod answers                 its element is in the kernel
    goes         to its place, as far as its pod answers              its element has left it

Its place is the address and port that clients dial: with no hostIP, the port at any address that
the node has now.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from podwire_core.conntrack import Conntrack, Entry
from podwire_core.conntrack.entry import packed
from podwire_core.family import Family
from podwire_node.host_ports.forward import Forward
from podwire_node.stale.addresses import Addresses

#: Protocols whose clients go on as before when no one answers.
PROTOCOLS = {"udp": socket.IPPROTO_UDP, "sctp": socket.IPPROTO_SCTP}

_Server = tuple[bytes, int]


def stale(
    entries: Iterable[Entry],
    local: frozenset[bytes],
    come: Iterable[Forward] = (),
    gone: Iterable[Forward] = (),
) -> Iterator[Entry]:
    """Entries to forget, of hostPorts that came and went (pure).

    local: the node's own addresses, packed. A hostPort that came in the place of one that went
    says alone who serves it.
    """
    serving = {_place(each): _server(each) for each in come}
    ended = {(_place(each), _server(each)) for each in gone}
    for entry in entries:
        answers = (entry.reply_source, entry.reply_port)
        for place in _places(entry, local):
            if place in serving:
                if answers != serving[place]:
                    yield entry
                break
            if (place, answers) in ended:
                yield entry
                break


def forget_stale(come: Sequence[Forward] = (), gone: Sequence[Forward] = ()) -> int:
    """Forget them in the calling thread's network namespace; answers how many there were.

    The table is read once for each family and protocol of these that needs it, and TCP needs none.
    Raises ConntrackError, and OSError where the node's addresses cannot be read.
    """
    concerned = [each for each in (*come, *gone) if each.protocol in PROTOCOLS]
    if not concerned:
        return 0
    with closing(Addresses()) as addresses, closing(Conntrack()) as conntrack:
        local = addresses.read()
        return sum(
            _forget(conntrack, family, protocol, local, come, gone)
            for family, protocol in sorted({(each.family, each.protocol) for each in concerned})
        )


def _forget(
    conntrack: Conntrack,
    family: Family,
    protocol: str,
    local: frozenset[bytes],
    come: Sequence[Forward],
    gone: Sequence[Forward],
) -> int:
    with closing(conntrack.entries(family, PROTOCOLS[protocol])) as entries:
        return conntrack.delete(stale(entries, local, come, gone))


def _places(entry: Entry, local: frozenset[bytes]) -> Iterator[tuple[Family, int, bytes, int]]:
    """Where a client may be said to have dialled: at this address, or at any of the node's."""
    family, protocol, port = entry.family, entry.protocol, entry.destination_port
    yield family, protocol, entry.destination, port
    if entry.destination in local or _is_localhost(entry):
        yield family, protocol, b"", port


def _is_localhost(entry: Entry) -> bool:
    """All of 127.0.0.0/8 is the node's, though it lists one address of it."""
    return entry.family is Family.IPV4 and entry.destination[0] == 127


def _place(each: Forward) -> tuple[Family, int, bytes, int]:
    address = packed(each.address, each.family) if each.address else b""
    return each.family, PROTOCOLS.get(each.protocol, 0), address, each.port


def _server(each: Forward) -> _Server:
    return packed(each.server, each.family), each.server_port
