"""Which pod owns an address, while two pods name it, or the node gave it to someone else.

An address passes from a pod that ends to a pod that starts, and news of the two may arrive
in either order, so that for a moment both name it. It is one pod's all the same, in every
set at once, or the old pod's permissions would reach the new one:

    1  a pod that is not being deleted comes before one that is
    2  the younger pod comes first: it got the address after the other gave it back
    3  by namespace and name, so that a restart decides alike

Where this node itself gave the address away (Attached), it knows best: the address is that
pod's, or nobody's. Finished pods and pods in the node's network own none at all (Pod.ips).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from podwire_core.objects import Attached, ObjectName, Pod


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
    """All pods, their claims on their addresses, and to whom this node gave addresses."""

    def __init__(self) -> None:
        self._pods: dict[ObjectName, Pod] = {}
        #: Sorted by their right; one claimant, by far the most, is no list.
        self._claims: dict[str, ObjectName | list[Right]] = {}
        self._attached: dict[ObjectName, Attached] = {}
        self._given: dict[str, dict[ObjectName, Attached]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def claimed(self) -> Collection[str]:
        """Every address that a pod names."""
        return self._claims.keys()

    @property
    def given_addresses(self) -> Collection[str]:
        """Every address that this node gave away."""
        return self._given.keys()

    def pod(self, name: ObjectName) -> Pod | None:
        """A pod as it was told last."""
        return self._pods.get(name)

    def replace(self, name: ObjectName, pod: Pod | None) -> set[ObjectName]:
        """Take a pod as it is now. Answers every pod whose addresses may be others for it."""
        old = self._pods.get(name)
        before, now = set(old.ips if old else ()), set(pod.ips if pod else ())
        concerned = before | now
        touched = {name, *self._holders(concerned)}
        if old and pod and Right.of(old) == Right.of(pod):
            before, now = before - now, now - before
        for address in before:
            self._unclaim(address, name)
        self._pods.pop(name, None)
        if pod:
            self._pods[name] = pod
        for address in now:
            self._claim(address, name)
        return touched | self._holders(concerned)

    def attach(
        self, name: ObjectName, attached: Attached | None
    ) -> tuple[set[str], set[ObjectName]]:
        """Take an attachment as it is now. Answers addresses and pods that it may concern."""
        old = self._attached.pop(name, None)
        addresses = {*(old.addresses if old else ()), *(attached.addresses if attached else ())}
        for address in old.addresses if old else ():
            self._given[address].pop(name, None)
        if attached:
            self._attached[name] = attached
            for address in attached.addresses:
                self._given.setdefault(address, {})[name] = attached
        for address in addresses:
            if not self._given[address]:
                del self._given[address]
        return addresses, {each for address in addresses for each in self._claimants(address)}

    def given(self, address: str) -> Iterable[Attached]:
        """To whom this node gave an address."""
        return self._given.get(address, {}).values()

    def owner(self, address: str) -> ObjectName | None:
        """The pod whose address it is."""
        claimants = self._claimants(address)
        if given := self._given.get(address):
            rows = given.values()
            pods = ((name, self._pods[name]) for name in claimants)
            claimants = (name for name, pod in pods if any(row.fits(pod) for row in rows))
        return next(iter(claimants), None)

    def addresses(self, name: ObjectName) -> tuple[str, ...]:
        """The addresses that are this pod's and no other's, in the order it lists them."""
        pod = self._pods.get(name)
        mine = pod.ips if pod else ()
        return tuple(dict.fromkeys(ip for ip in mine if self.owner(ip) == name))

    def lost(self, name: ObjectName) -> dict[str, str]:
        """Addresses that this pod names and does not own: address → whose it is, in words."""
        pod = self._pods.get(name)
        mine = pod.ips if pod else ()
        return {ip: self._holder(ip) for ip in mine if self.owner(ip) != name}

    def _holder(self, address: str) -> str:
        given = [str(each.pod or each.name) for each in self.given(address)]
        return str(self.owner(address) or (min(given) if given else "nobody"))

    def _claimants(self, address: str) -> Iterable[ObjectName]:
        """Who names an address, by their right."""
        found = self._claims.get(address, ())
        return (found,) if isinstance(found, ObjectName) else (right.pod for right in found)

    def _holders(self, addresses: Iterable[str]) -> set[ObjectName]:
        return {owner for address in addresses if (owner := self.owner(address))}

    def _claim(self, address: str, name: ObjectName) -> None:
        there = self._claims.get(address)
        if there is None:
            self._claims[address] = name
            return
        if isinstance(there, ObjectName):
            there = self._claims[address] = [Right.of(self._pods[there])]
        insort(there, Right.of(self._pods[name]))

    def _unclaim(self, address: str, name: ObjectName) -> None:
        there = self._claims[address]
        if isinstance(there, ObjectName):
            del self._claims[address]
            return
        del there[bisect_left(there, Right.of(self._pods[name]))]
        if len(there) == 1:
            self._claims[address] = there[0].pod
