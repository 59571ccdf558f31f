"""Which pod owns an address, while two pods name it.

An address passes from a pod that ends to a pod that starts, and news of the two may arrive
in either order, so that for a moment both name it. It is one pod's all the same, in every
set at once, or the old pod's permissions would reach the new one:

    1  a pod that is not being deleted comes before one that is
    2  the younger pod comes first: it got the address after the other gave it back
    3  by namespace and name, so that a restart decides alike

Finished pods and pods in the node's network own no address at all (Pod.ips).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from podwire_core.claims import Claims
from podwire_core.objects import ObjectName, Pod


@dataclass(frozen=True, slots=True)
class Right:
    """A pod's right to its addresses; the one that sorts first holds."""

    terminating: bool
    created: str  # RFC 3339 in UTC, as the API server writes it: sorts as text
    pod: ObjectName

    @classmethod
    def of(cls, pod: Pod) -> Right:
        """The right of a pod as it is now."""
        meta = pod.metadata
        return cls(meta.deletion_timestamp is not None, meta.creation_timestamp or "", pod.name)

    def __lt__(self, other: Any) -> bool:
        if self.terminating != other.terminating:
            return bool(other.terminating)
        if self.created != other.created:
            return bool(self.created > other.created)
        return bool(self.pod < other.pod)


class Owners:
    """All pods' claims on their addresses."""

    def __init__(self) -> None:
        self._claims: Claims[Right, str, ObjectName] = Claims()
        self._rights: dict[ObjectName, Right] = {}

    @property
    def pods(self) -> Collection[ObjectName]:
        """Every pod that is known."""
        return self._rights.keys()

    def replace(self, name: ObjectName, pod: Pod | None) -> set[ObjectName]:
        """Take a pod as it is now. Answers every pod whose addresses may be others for it."""
        old = self._rights.pop(name, None)
        ips = pod.ips if pod else ()
        concerned = {*ips, *(self._claims[old] if old else ())}
        touched = {name} | self._holders(concerned)
        if old:
            self._claims.replace(old, {})
        if pod:
            self._rights[name] = Right.of(pod)
            self._claims.replace(self._rights[name], dict.fromkeys(ips, name))
        return touched | self._holders(concerned)

    def addresses(self, name: ObjectName) -> tuple[str, ...]:
        """The addresses that are this pod's and no other's, in the order it lists them."""
        right = self._rights.get(name)
        claimed = self._claims[right] if right else ()
        return tuple(ip for ip in claimed if self._claims.winners[ip] == name)

    def lost(self, name: ObjectName) -> dict[str, ObjectName]:
        """Addresses that this pod names and another owns: address → its owner."""
        right = self._rights.get(name)
        return (
            {ip: holder.pod for ip, holder in self._claims.losers(right).items()} if right else {}
        )

    def _holders(self, addresses: Collection[str]) -> set[ObjectName]:
        winners = self._claims.winners
        return {winners[address] for address in addresses if address in winners}
