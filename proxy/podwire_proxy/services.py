"""The proxy's desired state, kept up to date object by object.

    Service, slices ─► frontends ─► (older Service wins) ─► slots ─► elements

A change costs what it touches: an endpoint that comes or goes changes its own slot, the
frontend's verdict (another count, another choose chain) and nothing of any other Service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from podwire_core.claims import Claims
from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES
from podwire_core.nft.objects import Key, Object, State, Table
from podwire_core.objects import EndpointSlice, Node, ObjectName, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy import skeleton
from podwire_proxy.elements import cluster_elements, frontend_objects, slots_in_force
from podwire_proxy.frontend import Backend, Backends, Frontend, frontends_of
from podwire_proxy.slots import assign

TABLES = tuple(skeleton.table(family) for family in FAMILIES)


class Claimant(NamedTuple):
    """A Service in order of its right: the older one, then the one whose name sorts first."""

    created: str
    name: ObjectName


class Services:
    """Implements podwire_core.nft.desired.Desired.

    node: our own name, whose Node object gives the addresses that NodePorts answer at.
    adopted: what the kernel holds at the start, so that backends keep their slots.
    """

    def __init__(self, node: str, adopted: State | None = None) -> None:
        self._node = node
        self._adopted = adopted or {}
        self._slices: dict[ObjectName, dict[ObjectName, EndpointSlice]] = {}
        self._slice_owner: dict[ObjectName, ObjectName] = {}
        self._claimants: dict[ObjectName, Claimant] = {}
        self._frontends: Claims[Claimant, Frontend, Backends] = Claims()
        self._slots: dict[Frontend, tuple[Backend, ...]] = {}
        self._objects: Claims[tuple[str, ...], Key, Object] = Claims()
        self._problems: dict[ObjectName, list[ObjectError]] = {}
        self._told = False
        for family in FAMILIES:
            chains = {each.key: each for each in skeleton.skeleton(family)}
            self._objects.replace(("skeleton", family), chains)

    @property
    def tables(self) -> Sequence[Table]:
        """The proxy's table of each family."""
        return TABLES

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force."""
        return self._objects.winners

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Endpoints that cannot be used, and addresses that an older Service holds already."""
        found = [error for name in sorted(self._problems) for error in self._problems[name]]
        for claimant in sorted(self._claimants.values()):
            for frontend, holder in self._frontends.losers(claimant).items():
                reason = f"{frontend} is Service {holder.name}'s, which is older"
                found.append(ObjectError("", f"Service {claimant.name}", "spec.ports", reason))
        return found

    def backends(self, frontend: Frontend) -> tuple[Backend, ...]:
        """The backends of a frontend in the order of their slots; for people and drawings."""
        return self._slots.get(frontend, ())

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update."""
        answer: dict[Key, Object | None] = {}
        if not self._told:
            answer.update(self._objects.winners)
            self._told = True
        if any(change.kind is Node for change in changes):
            answer.update(self._update_cluster(snapshot))
        touched: set[Frontend] = set()
        for name in sorted(self._dirty(changes)):
            touched |= self._update_service(name, snapshot.get(Service, name))
        for frontend in sorted(touched):
            answer.update(self._update_frontend(frontend))
        return answer

    def _dirty(self, changes: Iterable[Change]) -> set[ObjectName]:
        """Services that a change concerns; slices are filed under theirs on the way."""
        dirty: set[ObjectName] = set()
        for change in changes:
            if change.kind is Service:
                dirty.add(change.name)
            elif change.kind is EndpointSlice:
                dirty |= self._file_slice(change)
        return dirty

    def _file_slice(self, change: Change) -> set[ObjectName]:
        """A slice may come, change, go, or be relabelled to another Service."""
        before = self._slice_owner.pop(change.name, None)
        if before is not None:
            self._slices[before].pop(change.name)
            if not self._slices[before]:
                del self._slices[before]
        new = change.new
        after = new.service if isinstance(new, EndpointSlice) else None
        if after is not None and isinstance(new, EndpointSlice):
            self._slice_owner[change.name] = after
            self._slices.setdefault(after, {})[change.name] = new
        return {name for name in (before, after) if name is not None}

    def _update_service(self, name: ObjectName, service: Service | None) -> set[Frontend]:
        """Frontends whose backends changed because this Service did."""
        touched: set[Frontend] = set()
        wanted: dict[Frontend, Backends] = {}
        self._problems.pop(name, None)
        before = self._claimants.pop(name, None)
        if service is not None:
            wanted, problems = frontends_of(service, self._slices.get(name, {}).values())
            if problems:
                self._problems[name] = problems
            self._claimants[name] = Claimant(service.metadata.creation_timestamp or "~", name)
        after = self._claimants.get(name)
        if before is not None and before != after:
            touched |= self._frontends.replace(before, {}).keys()
        if after is not None:
            touched |= self._frontends.replace(after, wanted).keys()
        return touched

    def _update_frontend(self, frontend: Frontend) -> Mapping[Key, Object | None]:
        """Objects that changed because this frontend's backends did."""
        owner = ("frontend", frontend.family, frontend.via, *frontend.parts)
        now = self._frontends.winners.get(frontend)
        if now is None:
            self._slots.pop(frontend, None)
            return self._objects.replace(owner, {})
        before = self._slots.get(frontend)
        if before is None:
            before = slots_in_force(frontend, self._adopted)
        slots = self._slots[frontend] = assign(before, now.usable)
        objects = frontend_objects(frontend, now.label, slots)
        return self._objects.replace(owner, {each.key: each for each in objects})

    def _update_cluster(self, snapshot: Snapshot) -> Mapping[Key, Object | None]:
        mine = snapshot.get(Node, ObjectName("", self._node))
        cidrs = [cidr for node in snapshot.all(Node) for cidr in node.pod_cidrs]
        elements = cluster_elements(mine.internal_ips if mine else (), cidrs)
        return self._objects.replace(("cluster",), {each.key: each for each in elements})
