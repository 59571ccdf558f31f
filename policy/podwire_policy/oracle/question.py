"""Both ends of a connection, as the packet names them after DNAT and before SNAT."""

from __future__ import annotations

from dataclasses import dataclass

from podwire_core.objects import ObjectName, Pod, PolicyType


@dataclass(frozen=True, slots=True)
class End:
    """One end of a connection: its address, and the pod that owns the address, if one does."""

    address: str
    pod: Pod | None = None

    @property
    def name(self) -> ObjectName | str:
        """The pod's name, else the address."""
        return self.pod.name if self.pod else self.address


@dataclass(frozen=True, slots=True)
class Question:
    """May this connection be made? protocol: a Protocol, or another one's name, without ports."""

    source: End
    destination: End
    protocol: str
    port: int

    def ends(self, direction: PolicyType) -> tuple[End, End]:
        """Whose policies judge in this direction, and the one whom it talks to."""
        if direction is PolicyType.EGRESS:
            return self.source, self.destination
        return self.destination, self.source
