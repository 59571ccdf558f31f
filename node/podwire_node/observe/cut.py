"""Who does not allow a connection that was cut: it is judged anew, as it began. Pure.

The kernel's log names only that it was cut, and a packet of it may be an answer. Where connection
tracking does not say how it began (tracked.py), both ways are judged; if both are denied, nobody
can tell for which of them it was cut, and so nobody is named. What is allowed by now names nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
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


def turned(packet: Packet) -> Packet:
    """The packet that it would be an answer to."""
    ends = replace(packet, source=packet.destination, destination=packet.source)
    if not isinstance(packet.l4, Ports):
        return ends
    return replace(ends, l4=Ports(packet.l4.destination, packet.l4.source, packet.l4.flags))


def verdict(judge: Judge, judgements: Iterable[Judgement | None]) -> Verdict:
    """judgements: of all ways in which it may have begun. Who denies is told if one is denied."""
    denied = [(each, side) for each in judgements if each and (side := each.denied)]
    if len(denied) != 1:
        return Verdict()
    ((judgement, side),) = denied
    near = "" if side.denial is Kind.DENIED else misses(judge, judgement, side.direction)
    return Verdict(side, near)
