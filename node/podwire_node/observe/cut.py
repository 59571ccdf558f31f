"""Who does not allow a connection that was cut: it is judged anew, as it began. Pure.

The kernel's log names only that it was cut, and a packet of it may be an answer. Who has the lower
port is taken for the one that was dialled, as mostly is so. What is allowed by now names nobody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from podwire_core.objects import PolicyType
from podwire_node.observe.packet import Packet, Ports
from podwire_node.observe.record import DeniedBy
from podwire_policy.oracle import Judge, Judgement, Side, misses
from podwire_policy.reasons import Kind


@dataclass(frozen=True)
class Verdict:
    """The side that denies it now; None where none does."""

    side: Side | None = None
    nearest: str = ""

    @property
    def sentence(self) -> str:
        """Why it was cut."""
        why = f": {self.side.reason}" if self.side else ""
        return f"this connection is older than policies that do not allow it{why}"

    def denied_by(self, direction: PolicyType) -> tuple[DeniedBy, ...]:
        """The policies of one direction that deny it."""
        if self.side is None or self.side.direction is not direction:
            return ()
        if self.side.decision is not None:
            return (DeniedBy(self.side.decision.policy.name, "ClusterNetworkPolicy"),)
        names = self.side.isolated_by
        return tuple(DeniedBy(each.name, "NetworkPolicy", each.namespace) for each in names)


def as_begun(packet: Packet) -> Packet:
    """A packet as the one that opened its connection: to the lower port."""
    ports = packet.l4
    if not isinstance(ports, Ports) or ports.source >= ports.destination:
        return packet
    there = Ports(ports.destination, ports.source, ports.flags)
    return replace(packet, source=packet.destination, destination=packet.source, l4=there)


def verdict(judge: Judge, judgement: Judgement | None) -> Verdict:
    """judgement: of the packet as_begun()."""
    side = judgement.denied if judgement else None
    if judgement is None or side is None:
        return Verdict()
    near = "" if side.denial is Kind.DENIED else misses(judge, judgement, side.direction)
    return Verdict(side, near)
