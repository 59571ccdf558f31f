"""Connections that this node has seen: what policies are tried on.

    set `seen`   every new connection that was forwarded in the last hour, also those denied
    conntrack    those that are open, of this node's pods, however old they are

A connection is who dials whom at which port, as after DNAT; how often, nobody counts.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from typing import NamedTuple

from podwire_core.conntrack import Conntrack
from podwire_core.conntrack.entry import packed, unpacked
from podwire_core.family import FAMILIES, canonical_address, family_of
from podwire_core.nft.reader import Reader
from podwire_core.objects import Protocol
from podwire_policy.sets import TABLES
from podwire_policy.skeleton import SEEN

MAX_CONNECTIONS = 200_000
_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_BY_WORD = {protocol.nft: protocol for protocol in Protocol} | {
    str(number): protocol for number, protocol in _PROTOCOLS.items()
}


class Connection(NamedTuple):
    """Canonical addresses; port: the destination's."""

    source: str
    destination: str
    protocol: Protocol
    port: int


def seen_connections(pods: Collection[str]) -> tuple[set[Connection], bool]:
    """What the kernel of this network namespace remembers, and whether there is more of it.

    pods: addresses whose open connections count. Raises NftError, ConntrackError.
    """
    found: set[Connection] = set()
    with closing(_sources(pods)) as sources:
        for each in sources:
            found.add(each)
            if len(found) > MAX_CONNECTIONS:
                found.discard(each)
                return found, True
    return found, False


def _sources(pods: Collection[str]) -> Generator[Connection, None, None]:
    with closing(Reader(lambda _: {})) as reader:
        for table in TABLES.values():
            for key in reader.entries(table, SEEN):
                if (connection := _entry(key)) is not None:
                    yield connection
    yield from _open(pods)


def _entry(key: str) -> Connection | None:
    """A key of the set, `10.244.1.5 . 10.244.2.7 . tcp . 80`."""
    source, destination, protocol, port = key.split(" . ")
    known = _BY_WORD.get(protocol)
    if known is None:
        return None
    return Connection(canonical_address(source), canonical_address(destination), known, int(port))


def _open(pods: Collection[str]) -> Iterator[Connection]:
    """The reply comes from whom the packets were sent to, after DNAT."""
    conntrack = Conntrack()
    with closing(conntrack):
        for family in FAMILIES:
            ours = frozenset(packed(each, family) for each in pods if family_of(each) is family)
            with closing(conntrack.entries(family)) as entries:
                for each in entries:
                    protocol = _PROTOCOLS.get(each.protocol)
                    if protocol and (each.source in ours or each.reply_source in ours):
                        yield Connection(
                            unpacked(each.source),
                            unpacked(each.reply_source),
                            protocol,
                            each.reply_port,
                        )
