"""What one frontend asks of the maps, or why it is left to nftables. Pure.

    policy    a socket of this node gets     a packet from outside gets
    CLUSTER   all endpoints                  all endpoints
    LOCAL     this node's                    -
    SPLIT     all endpoints                  this node's

left to nftables       because
SCTP                   the hooks see TCP and UDP alone
a guard                source ranges are judged by a packet's source
masqueradeAll          the endpoint is to see the node's address, and a socket keeps its own
no endpoint here       LOCAL drops then, and a call can be refused but not dropped
no endpoint            where the kernel cannot say why it refuses a call (before Linux 5.18)
::ffff:a.b.c.d, IPv6   sockets dial that for the IPv4 address
in a ServiceCIDR       packets for an endpoint there are dropped, unless nftables sent them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from podwire_core.family import Family, family_of
from podwire_core.nft.objects import digest
from podwire_core.objects import Protocol
from podwire_ebpf.records import FrontendKey, Scope
from podwire_proxy.elements import Served
from podwire_proxy.frontend import Backend, Frontend, Plan, Policy

#: The numbers of IP (IANA, protocol numbers).
NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17}
#: A NodePort's address in the maps.
ANY = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}


_ALL = Policy.CLUSTER
_MAPPED = "sockets dial ::ffff:a.b.c.d for the IPv4 address, and this is IPv6's"
_GUARDED = "it has source ranges, which are judged packet by packet"
_MASQUERADED = "masqueradeAll: its endpoints are to see the node's address"
_DROPPED = "its endpoints are on other nodes, and its policy is Local: it is dropped"
_SILENT = "no endpoint, and to refuse a call with a reason takes Linux 5.18"
#: Of a member: clients are sent there again; its open conversations go on, and that is all.
READY, SERVING = 1, 2
NO_MEMBERS: Mapping[Backend, int] = MappingProxyType({})


@dataclass(frozen=True)
class Reach:
    """What is asked of the socket programs, and what they can do.

    external: packets from outside are theirs too. refuses: a call can be refused with a reason.
    masquerade, by_source: flags of frontends for packets from outside, which get the node's
    address, or are left to nftables where they come from inside the cluster.
    """

    masquerade_all: bool = False
    external: bool = False
    refuses: bool = True
    masquerade: int = 0
    by_source: int = 0
    service_cidrs: tuple[str, ...] = ()


class Wish(NamedTuple):
    """A row of `frontends` that a frontend asks for.

    name: of its list, for people; it names the list, see number. slots: as nftables has them.
    affinity: seconds, 0 for none. serving: endpoints that a conversation may go on with, though
    they are ready no more: one from outside, or one of UDP, whose sockets ask for each datagram.
    """

    key: FrontendKey
    name: str
    backends: frozenset[Backend]
    slots: tuple[Backend, ...]
    affinity: int = 0
    flags: int = 0
    serving: frozenset[Backend] = frozenset()

    @property
    def members(self) -> Mapping[Backend, int]:
        """What `members` is to say of endpoints: READY or SERVING; nothing if no one asks it."""
        if not (self.affinity or _goes_on(self.key)):
            return NO_MEMBERS
        return {**dict.fromkeys(self.serving, SERVING), **dict.fromkeys(self.backends, READY)}

    @property
    def number(self) -> int:
        """The list's name in the maps: never given to another, so never told apart by time."""
        return int(digest(self.name, 16), 16)


def key_of(frontend: Frontend, scope: Scope = Scope.INSIDE) -> FrontendKey | None:
    """Where it stands in the maps; None for a protocol that they do not know."""
    protocol = NUMBERS.get(frontend.protocol)
    if protocol is None:
        return None
    address = frontend.address or ANY[frontend.family]
    return FrontendKey(address, frontend.port, protocol, scope)


def frontend_of(key: FrontendKey) -> Frontend:
    """Back from the maps."""
    family = family_of(key.address)
    protocol = next(each for each, number in NUMBERS.items() if number == key.protocol)
    return Frontend(family, "" if key.address == ANY[family] else key.address, protocol, key.port)


def is_mapped(address: str) -> bool:
    """Whether an IPv6 address could be taken for an IPv4 one."""
    return address.startswith("::ffff:")


def reason(frontend: Frontend, served: Served, reach: Reach) -> str:
    """Why nftables alone serves a frontend; "" when sockets may."""
    plan = served.plan
    if frontend.protocol not in NUMBERS:
        return f"{frontend.protocol}: sockets are served for TCP and UDP"
    found = (
        (is_mapped(frontend.address), _MAPPED),
        (plan.guard, _GUARDED),
        (reach.masquerade_all and not plan.external, _MASQUERADED),
        (plan.policy is Policy.LOCAL and plan.lacks_local, _DROPPED),
        (not served.first and not reach.refuses, _SILENT),
    )
    return next((why for stands, why in found if stands), "")


def wish(frontend: Frontend, served: Served, key: FrontendKey, reach: Reach) -> Wish | None:
    """The row of a frontend that has no reason to be left to nftables, under one of its keys.

    None: of packets from outside, nftables is to serve, refuse or drop these.
    """
    plan = served.plan
    if key.scope is Scope.INSIDE:
        found = _wish(frontend, served, Policy.LOCAL if plan.policy is Policy.LOCAL else _ALL, key)
        return found._replace(serving=plan.serving) if _goes_on(key) else found
    if not (reach.external and plan.external):
        return None
    if plan.policy is Policy.SPLIT:
        found, flags = _wish(frontend, served, Policy.LOCAL, key), reach.by_source
    else:
        found, flags = _wish(frontend, served, _ALL, key), reach.masquerade
    return found._replace(flags=flags, serving=plan.serving) if found.backends else None


def _goes_on(key: FrontendKey) -> bool:
    """Whether the programs ask, in the midst of a conversation, if its endpoint serves still."""
    return key.scope is Scope.OUTSIDE or key.protocol == NUMBERS[Protocol.UDP]


def _wish(frontend: Frontend, served: Served, policy: Policy, key: FrontendKey) -> Wish:
    plan = served.plan
    second = plan.policy is Policy.SPLIT and policy is Policy.LOCAL
    return Wish(
        key,
        list_name(plan, frontend, policy),
        plan.second if second else plan.first,
        served.second if second else served.first,
        plan.affinity.timeout if plan.affinity else 0,
    )


def list_name(plan: Plan, frontend: Frontend, policy: Policy) -> str:
    """`shop/api:http/TCP IPv4 cluster`: frontends of one port that have one list share it."""
    return f"{plan.label}/{frontend.protocol} {frontend.family} {policy}"
