"""What leaves the cluster takes the node's address: the world has no route back to a pod.

    pod ──► own-pods? ──► a pod, excluded, link-local, multicast? ──► masquerade
            no: not ours        yes: as it is

    from a pod of this node, to      its source becomes
    a pod, by address or Service     stays; the proxy's DNAT came earlier, so `daddr` is a pod's
    an excluded CIDR                 stays
    link-local, multicast, all-ones  stays: it goes no further than the link
    anything else                    the address of the link it leaves by

* Other nodes' addresses are "anything else", as kindnet and flannel have it (kube-router lets
  them be). A node behind a router, or one in the making, need not know the way to a pod; who
  wants to see pods' addresses there excludes the nodes' subnet.
* The chain has the priority of the proxy's, and they cannot quarrel: the proxy masquerades
  what its DNAT sent to a pod, which is never masqueraded here. Another table's source NAT that
  comes earlier wins, as a connection gets one source.
* The node itself is no question: what is sent to it never comes to postrouting.
* fully-random: of two connections that were given one port, the second would be dropped
  unseen when both enter conntrack at once (two queries of one resolver). A random port makes
  that rare. It is no danger to VXLAN's checksums here (see node/README.md): what goes out
  around a pod's packet leaves from the node's own address, so it is not masqueraded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from podwire_core.claims import Claims
from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES, Family, canonical_network, family_of
from podwire_core.nft.expressions import daddr, saddr
from podwire_core.nft.intervals import disjoint, network_text
from podwire_core.nft.objects import Chain, Element, Hook, Key, Object, Rule, Set, Table
from podwire_core.nft.statements import RETURN, Match
from podwire_core.nft.statements import Masquerade as TakeNodeAddress
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.routes.peers import peers_of

TABLE_NAME = "podwire-masquerade"
OWN_PODS = "own-pods"
AS_THEY_ARE = "as-they-are"

#: What no router forwards: link-local and multicast of both families, and all-ones.
NOT_ROUTED = ("169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32", "fe80::/10", "ff00::/8")

TABLES = tuple(Table(family, TABLE_NAME) for family in FAMILIES)


class Masquerade:
    """Implements podwire_core.nft.desired.Desired.

    node: our own name, whose podCIDRs are masqueraded; until they are known, nothing is.
    excluded: CIDRs that see pods' addresses. Raises ValueError for what is no CIDR.
    """

    def __init__(self, node: str, excluded: Sequence[str] = ()) -> None:
        self._node = node
        self._excluded = tuple(canonical_network(cidr) for cidr in excluded)
        self._objects: Claims[tuple[str, ...], Key, Object] = Claims()
        self._problems: list[ObjectError] = []
        self._told = False
        for family in FAMILIES:
            fixed = {each.key: each for each in skeleton(family)}
            self._objects.replace(("skeleton", family), fixed)
        self._fill(())

    @property
    def tables(self) -> Sequence[Table]:
        """One table a family."""
        return TABLES

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force."""
        return self._objects.winners

    @property
    def problems(self) -> Sequence[ObjectError]:
        """podCIDRs that are left out."""
        return self._problems

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update."""
        answer: dict[Key, Object | None] = {}
        if not self._told:
            answer.update(self._objects.winners)
            self._told = True
        if any(change.kind is Node for change in changes):
            answer.update(self._fill(snapshot.all(Node)))
        return answer

    def _fill(self, nodes: Iterable[Node]) -> Mapping[Key, Object | None]:
        """The elements anew, of podCIDRs that may be routes; answers those that changed."""
        peers = peers_of(nodes, self._node)
        self._problems = list(peers.problems)
        own, others = peers.pod_cidrs, (peer.cidr for peer in peers.others)
        as_they_are = (*own, *others, *self._excluded, *NOT_ROUTED)
        elements = [*_elements(OWN_PODS, own), *_elements(AS_THEY_ARE, as_they_are)]
        return self._objects.replace(("nodes",), {each.key: each for each in elements})


def skeleton(family: Family) -> Iterator[Object]:
    """Every object of a family's table but elements."""
    home = Table(family, TABLE_NAME)
    ours, stays = Match(saddr(family), set=OWN_PODS), Match(daddr(family), set=AS_THEY_ARE)
    rules = (
        Rule((ours, stays, RETURN), "to a pod, an excluded network or a neighbour"),
        Rule((ours, TakeNodeAddress()), "from a pod of ours to the world"),
    )
    yield home
    yield Set(home, OWN_PODS, saddr(family), "where this node's pods live", interval=True)
    yield Set(home, AS_THEY_ARE, daddr(family), "who sees pods' addresses", interval=True)
    yield Chain(home, "postrouting", rules, Hook("nat", "postrouting", 100))


def _elements(name: str, cidrs: Iterable[str]) -> Iterator[Element]:
    for cidr in disjoint(cidrs):
        yield Element(Table(family_of(cidr), TABLE_NAME), name, (network_text(cidr),))
