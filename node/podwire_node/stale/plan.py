"""Which UDP connections are stale, from what serves each frontend now. No effects here.

    the entry was sent to            it is stale unless its replies come from
    a VIP's address and port         an endpoint that serves the VIP
    a NodePort, at an address        an endpoint that serves the NodePort
      where NodePorts answer
    anything else                    - it is none of ours

* A frontend with no endpoint has only stale ones, and so has a frontend that is gone.
* An entry that was never translated is stale too: its first packet came when the frontend did
  not lead anywhere yet, and no later packet of it is looked at by any NAT rule.
* Address and port count: a changed targetPort is another endpoint.
* What others translate, or listen to at an address of the node where NodePorts do not answer, is
  theirs, whatever its port.
* Serving is all that counts, whatever the traffic policies say: a conversation ends with its
  endpoint, as TCP's do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from podwire_core.conntrack import UDP, Entry
from podwire_core.conntrack.entry import packed, unpacked
from podwire_core.family import Family
from podwire_core.objects import Protocol
from podwire_proxy.frontend import Backend, Frontend

#: UDP frontends and who serves them.
Frontends = Mapping[Frontend, frozenset[Backend]]


def plan(
    entries: Iterable[Entry], frontends: Frontends, local: frozenset[bytes]
) -> Iterator[Entry]:
    """The stale ones among the entries; local: where NodePorts answer, packed."""
    vips, nodeports = vips_of(frontends, Protocol.UDP), nodeports_of(frontends, Protocol.UDP)
    for entry in entries:
        serving = vips.get((entry.destination, entry.destination_port))
        if serving is None:
            serving = nodeports.get((entry.family, entry.destination_port))
            if serving is None or entry.destination not in local:
                continue
        if entry.protocol == UDP and _server(entry) not in serving:
            yield entry


def has_nodeports(frontends: Frontends) -> bool:
    """Whether the node's addresses matter."""
    return any(each.is_nodeport for each in frontends)


def vips_of(
    frontends: Frontends, protocol: Protocol
) -> dict[tuple[bytes, int], frozenset[Backend]]:
    """Who serves an address, packed, and a port of it."""
    return {
        (packed(each.address, each.family), each.port): serving
        for each, serving in frontends.items()
        if each.protocol is protocol and not each.is_nodeport
    }


def nodeports_of(
    frontends: Frontends, protocol: Protocol
) -> dict[tuple[Family, int], frozenset[Backend]]:
    """Who serves a NodePort."""
    return {
        (each.family, each.port): serving
        for each, serving in frontends.items()
        if each.protocol is protocol and each.is_nodeport
    }


def _server(entry: Entry) -> Backend:
    return Backend(unpacked(entry.reply_source), entry.reply_port)
