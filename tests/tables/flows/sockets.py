"""What becomes of a flow where node1's sockets are answered by programs, and nftables has the rest.

A row's terms stay those of the table. A call that is answered at the socket is a call to the
endpoint itself, and three things follow, each with its reason in the answer:

    KEEPS     its packets are no Service's, so no one masquerades them: `a*` is `a`
    INSIDE    every socket of node1 is the cluster's, whoever the options count as a pod: under
              externalTrafficPolicy Local it reaches all endpoints
    LOOPBACK  no packet leaves by ::1, so no NAT is wanted: NodePorts at the loopback answer there

Who dials from elsewhere, and what the maps do not have (LEFT), is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from flows.places import ADDRESSES, LOCAL_PODS
from flows.rows import CLOSED, DROP, REJECT, Flow
from flows.world import World
from podwire_core.family import Family
from podwire_core.objects import Protocol
from podwire_proxy.frontend import Frontend, Plan, Policy
from podwire_proxy.options import Options

#: Whose sockets the programs of node1 see.
HERE = ("node", *LOCAL_PODS)

KEEPS = "a socket keeps its own address: the endpoint is dialled directly, and never masqueraded"
INSIDE = "a socket of this node is the cluster's, whoever counts as a pod: it reaches all endpoints"
LOOPBACK = "a socket needs no NAT: NodePorts answer at ::1, too"
LEFT = "nftables alone serves it"

_NAMES = {address: name for name, row in ADDRESSES.items() for address in row.values()}


class By(StrEnum):
    """Who answers."""

    SOCKET = "socket"
    NFTABLES = "nftables"


class Expected(NamedTuple):
    """A flow's ends over this backend.

    reasons: why they are not the row's, or why sockets do not answer what is a frontend.
    """

    by: By
    ends: frozenset[str]
    masqueraded: frozenset[str]
    reasons: Sequence[str] = ()


class Maps(NamedTuple):
    """What decides who answers: how frontends are served, and where NodePorts answer.

    refuses: whether a call can be refused with a reason (Linux 5.18).
    """

    plans: Mapping[Frontend, Plan]
    nodeport_networks: Sequence[str]
    service_cidrs: Sequence[str]
    options: Options
    refuses: bool = True

    def expected(self, world: World, flow: Flow, family: Family) -> Expected:
        """See the module."""
        frontend = self._dialled(world, flow, family) if flow.source in HERE else None
        if frontend is None or self.is_left(frontend):
            why = (LEFT,) if frontend else ()
            return Expected(By.NFTABLES, flow.ends, flow.masqueraded, why)
        plan = self.plans[frontend]
        ends = frozenset(
            f"{_NAMES[each.address]}:{each.port}"
            for each in (plan.local if plan.policy is Policy.LOCAL else plan.cluster)
        )
        if not ends:
            assert flow.outcome == REJECT or flow.to == "localhost", flow
            return Expected(By.SOCKET, frozenset({REJECT}), frozenset())
        return Expected(By.SOCKET, ends, frozenset(), tuple(self._reasons(plan, flow, ends)))

    @staticmethod
    def _reasons(plan: Plan, flow: Flow, ends: frozenset[str]) -> list[str]:
        found = [KEEPS] if flow.masqueraded else []
        if flow.to == "localhost" and flow.outcome == CLOSED:
            found.append(LOOPBACK)
        elif ends != flow.ends:
            assert plan.policy is Policy.SPLIT, flow
            assert flow.outcome == DROP or flow.ends < ends, flow
            found.append(INSIDE)
        return found

    def _dialled(self, world: World, flow: Flow, family: Family) -> Frontend | None:
        """The frontend that a socket finds, None for what is none of ours."""
        address, protocol = world.address(flow, family), Protocol(flow.protocol.upper())
        vip = Frontend(family, address, protocol, flow.port)
        if vip in self.plans:
            return vip
        nodeport = Frontend(family, "", protocol, flow.port)
        return nodeport if nodeport in self.plans and self._answers(world, flow, address) else None

    def _answers(self, world: World, flow: Flow, address: str) -> bool:
        """Whether NodePorts answer at an address, asked from this place."""
        if ip_address(address).is_loopback:
            return self.options.localhost_nodeports and flow.source == "node"
        return address in world.node_addresses() and _among(address, self.nodeport_networks)

    def is_left(self, frontend: Frontend) -> bool:
        """Whether nftables alone serves it."""
        plan = self.plans[frontend]
        if frontend.is_nodeport and any(
            each.port == frontend.port and not each.is_nodeport and self.is_left(each)
            for each in self.plans
            if (each.family, each.protocol) == (frontend.family, frontend.protocol)
        ):
            return True  # one of these addresses may be the node's
        return (
            frontend.protocol is Protocol.SCTP
            or plan.guard is not None
            or (self.options.masquerade_all and not plan.external)
            or (plan.policy is Policy.LOCAL and plan.lacks_local)
            or not (plan.first or self.refuses)
            # Nothing but Services is answered there, so no one could dial the endpoint itself.
            or any(_among(each.address, self.service_cidrs) for each in plan.first)
        )


def _among(address: str, networks: Sequence[str]) -> bool:
    known = ip_address(address)
    return any(known in ip_network(each) for each in networks)
