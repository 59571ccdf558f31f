"""Which sockets are stale, from what serves each frontend now. Only `translated` reads the kernel.

    the socket dialled               it is stale unless it was sent to
    a VIP's address and port         an endpoint that serves the VIP
    any other address                an endpoint that serves the NodePort
    what is no frontend (any more)   - it is stale

Every row is of a socket that our programs sent somewhere, so what it dialled was a frontend then;
but for rows without a port: there the socket dialled its peer itself since, or no peer is told;
and for rows of the way forward, which say the same of what connects to nobody.
A frontend without endpoints has only stale ones. Whether a row is UDP's or TCP's it does not say:
the socket itself does, so a row may be in both answers, and the cookie finds one socket.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from podwire_core.conntrack.entry import packed
from podwire_core.family import family_of
from podwire_core.objects import Protocol
from podwire_core.sock_diag import TCP, UDP, mapped
from podwire_ebpf.records import Reverse, ReverseKey
from podwire_ebpf.tables import Tables
from podwire_node.stale.plan import Frontends, nodeports_of, vips_of
from podwire_proxy.frontend import Backend

#: Cookie, peer and its port, as sock_diag tells them.
Sought = tuple[int, bytes, int]
#: By protocol.
Stale = Mapping[int, set[Sought]]

_NOBODY: frozenset[Backend] = frozenset()
_PROTOCOLS = {UDP: Protocol.UDP, TCP: Protocol.TCP}


def translated(tables: Tables, *, tcp: bool) -> Mapping[ReverseKey, Reverse]:
    """Which sockets were sent to whom, and what they dialled. Raises OSError.

    tcp: also connected ones of TCP, most of which stand in a table of their own (maps.c, peers).
    """
    rows = tables.reverse.read()
    for peer in tables.peers.read().values() if tcp else ():
        key = ReverseKey(peer.socket, peer.endpoint, peer.endpoint_port)
        rows[key] = Reverse(peer.address, peer.port)
    return rows


def stale_sockets(
    rows: Mapping[ReverseKey, Reverse], frontends: Frontends, *, unknown: bool
) -> Stale:
    """The sockets to end, of each protocol that some frontend is of.

    frontends: also those that are gone, served by nobody. unknown: frontends may have gone that
    are not in there, so a socket that dialled none of them is stale, too.
    """
    known = {each.protocol for each in frontends}
    return {
        number: {
            (key.socket, mapped(key.address), key.port)
            for key in _stale(rows, frontends, protocol, unknown=unknown)
        }
        for number, protocol in _PROTOCOLS.items()
        if protocol in known
    }


def _stale(
    rows: Mapping[ReverseKey, Reverse],
    frontends: Frontends,
    protocol: Protocol,
    *,
    unknown: bool,
) -> Iterator[ReverseKey]:
    vips, nodeports = vips_of(frontends, protocol), nodeports_of(frontends, protocol)
    for key, dialled in rows.items():
        if key.forward or not (dialled.port and key.port):
            continue
        family = family_of(dialled.address)
        serving = vips.get((packed(dialled.address, family), dialled.port))
        if serving is None:
            serving = nodeports.get((family, dialled.port), _NOBODY if unknown else None)
        if serving is not None and Backend(key.address, key.port) not in serving:
            yield key
