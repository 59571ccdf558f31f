"""A pod sends as itself, and nobody but a node speaks for the overlay.

    hook         priority   dropped
    prerouting   -150       what a pod sends under an address that does not lead back to it
                            what comes out of the overlay from a pod of this node: those are here
    input        -150       what a pod, or a DNAT, sends to the overlay's port of this node
    forward      -150       the same to the overlay's port of another node

* Whatever the connection's state: a datagram under another's address may belong to a connection
  of the other's, and a segment without a connection is judged by the address it claims.
* IPv4 has rp_filter for the first, on links that the CNI plugin made (plan.strict_source). It
  lets 0.0.0.0 pass, and so does nft's fib (for DHCP, of which pods have none); IPv6 has nothing.
* Link-local sources of IPv6 lead nowhere, as links of pods have no such address, and go no further
  than the node. Neighbours find each other by them; the rest is dropped and not worth a word.
* VXLAN has no key: a node unwraps what comes to its port, and believes the source inside. Packets
  of pods would be masqueraded on their way to another node, which could not tell them from a
  peer's; so they are dropped where they begin. DNAT comes earlier: a Service is no way round. A
  peer's packet is never translated, nor inside another.
* Pods among each other may use that port: they are in no set.

With routing direct there is no overlay, and the first rule alone is left. What is dropped as
borrowed is logged like a policy's drops, for `podwire observe`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from podwire_cni.attachment import HOST_PREFIX
from podwire_core.claims import Claims
from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.nft.expressions import (
    CT_STATUS,
    ICMPV6_TYPE,
    IIFNAME,
    REVERSE_OIF,
    daddr,
    dport,
    saddr,
)
from podwire_core.nft.intervals import disjoint, network_text
from podwire_core.nft.objects import Chain, Element, Hook, Key, Object, Rule, Set, Table
from podwire_core.nft.statements import DROP, RETURN, Counter, Match, goto
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.routes.overlay import DEVICE, device_address
from podwire_node.routes.peers import Peers, peers_of
from podwire_policy.skeleton import BORROWED, last_words

TABLE_NAME = "podwire-guard"
NODES = "nodes"
OWN_PODS = "own-pods"

TABLES = tuple(Table(family, TABLE_NAME) for family in FAMILIES)

_FROM_POD = Match(IIFNAME, (f"{HOST_PREFIX}*",))
_FROM_OVERLAY = Match(IIFNAME, (DEVICE,))
_TRANSLATED = Match(CT_STATUS, ("dnat",))
#: Neighbour solicitation and advertisement. Nobody behind a pod's link is a router.
_NEIGHBOURS = Match(ICMPV6_TYPE, ("135-136",))
#: Sources that lead back to no one, although nft's fib or a neighbour takes them, and where to.
_NOWHERE = {
    Family.IPV4: (("0.0.0.0/8", BORROWED.chain),),
    Family.IPV6: (("fe80::/10", "link-local"), ("::", "link-local")),
}


class Guard:
    """Implements podwire_core.nft.desired.Desired.

    node: our own name. port: the overlay's UDP port; 0 where there can be no overlay.
    """

    tables: Sequence[Table] = TABLES
    problems: Sequence[ObjectError] = ()  # the routes' part tells of podCIDRs that are unfit

    def __init__(self, node: str, port: int) -> None:
        self._node = node
        self._port = port
        self._objects: Claims[tuple[str, ...], Key, Object] = Claims()
        self._told = False
        for family in FAMILIES:
            fixed = {each.key: each for each in skeleton(family, port)}
            self._objects.replace(("skeleton", family), fixed)

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force."""
        return self._objects.winners

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update."""
        answer: dict[Key, Object | None] = {}
        if not self._told:
            answer.update(self._objects.winners)
            self._told = True
        if self._port and any(change.kind is Node for change in changes):
            nodes = snapshot.all(Node)
            elements = _elements(nodes, peers_of(nodes, self._node))
            answer.update(self._objects.replace(("nodes",), {each.key: each for each in elements}))
        return answer


def skeleton(family: Family, port: int) -> Iterator[Object]:
    """Every object of a family's table but elements. port: see Guard."""
    home = Table(family, TABLE_NAME)
    yield home
    yield Chain(home, BORROWED.chain, last_words(BORROWED.chain, "a pod's address is its own"))
    if family is Family.IPV6:
        yield Chain(home, "link-local", tuple(_link_local()))
    yield Chain(home, "from-pods", tuple(_from_pods(family)))
    early = [Rule((_FROM_POD, goto("from-pods")), "is its address its own?")]
    if port:
        yield Set(home, OWN_PODS, saddr(family), "where this node's pods live", interval=True)
        yield Set(home, NODES, daddr(family), "where nodes unwrap")
        early.append(
            _dropped("pods of ours are here", _FROM_OVERLAY, Match(saddr(family), set=OWN_PODS))
        )
        yield from _overlay(home, port)
    yield Chain(home, "prerouting", tuple(early), Hook("filter", "prerouting", -150))


def _from_pods(family: Family) -> Iterator[Rule]:
    for network, chain in _NOWHERE[family]:
        yield Rule((Match(saddr(family), (network,)), goto(chain)), "an address of no pod")
    yield Rule((Match(REVERSE_OIF, ("0",)), goto(BORROWED.chain)), "does it lead back?")


def _link_local() -> Iterator[Rule]:
    yield Rule((_NEIGHBOURS, RETURN), "how neighbours find each other")
    yield _dropped("nothing else stays on the link")


def _overlay(home: Table, port: int) -> Iterator[Chain]:
    """Both families alike: a device takes packets at every address of its own family."""
    wrapped, node = Match(dport("udp"), (str(port),)), Match(daddr(home.family), set=NODES)
    translated = _dropped("no node's packet is translated", wrapped, node, _TRANSLATED)
    forward = (_dropped("pods wrap nothing", _FROM_POD, wrapped, node), translated)
    here = (
        _dropped("pods wrap nothing", _FROM_POD, wrapped),
        _dropped("nothing is wrapped twice", _FROM_OVERLAY, wrapped),
        _dropped("no node's packet is translated", wrapped, _TRANSLATED),
    )
    yield Chain(home, "forward", forward, Hook("filter", "forward", -150))
    yield Chain(home, "input", here, Hook("filter", "input", -150))


def _dropped(why: str, *matches: Match) -> Rule:
    return Rule((*matches, Counter(), DROP), why)


def _elements(nodes: Iterable[Node], peers: Peers) -> Iterator[Element]:
    """Where nodes unwrap: at the addresses that their Nodes name, and those of their devices."""
    for node in sorted(nodes, key=lambda each: each.name):  # the last to name an address has it
        for address in node.addresses:
            yield _element(NODES, address, node)
    for node, cidr in peers.others:
        yield _element(NODES, device_address(cidr), node)
    for cidr in disjoint(peers.pod_cidrs):
        table = Table(family_of(cidr), TABLE_NAME)
        yield Element(table, OWN_PODS, (network_text(cidr),))


def _element(name: str, address: str, node: Node) -> Element:
    return Element(Table(family_of(address), TABLE_NAME), name, (address,), None, node.name.name)
