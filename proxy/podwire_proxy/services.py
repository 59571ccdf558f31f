"""The proxy's desired state, kept up to date object by object.

    Service, slices ─► frontends ─► (older Service wins) ─► slots ─► elements

A change costs what it touches: an endpoint that comes or goes changes its own slot, the
frontend's verdict (another count, another choose chain) and nothing of any other Service.
Only slots are kept; a frontend's elements are made of them whenever someone asks.

Services and slices that carry one of these labels are not ours (kube-proxy leaves them too):

    service.kubernetes.io/service-proxy-name   another proxy serves it
    service.kubernetes.io/headless             it has no address to serve
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from podwire_core.claims import Claims
from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES
from podwire_core.nft.desired import Walk
from podwire_core.nft.objects import Chain, Element, Key, Object, Table
from podwire_core.objects import EndpointSlice, Node, ObjectName, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy import skeleton
from podwire_proxy.elements import cluster_elements, frontend_objects, slots_in_force
from podwire_proxy.frontend import Backend, Backends, Frontend, frontends_of
from podwire_proxy.shares import Shares, by_key
from podwire_proxy.slots import assign

TABLES = tuple(skeleton.table(family) for family in FAMILIES)
NOT_OURS = frozenset({"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"})


class Claimant(NamedTuple):
    """A Service in order of its right: the older one, then the one whose name sorts first."""

    created: str
    name: ObjectName


class Served(NamedTuple):
    """What is in force of a frontend, as far as it was asked for."""

    label: str
    slots: tuple[Backend, ...]


class Services:
    """Implements podwire_core.nft.desired.Desired.

    node: our own name, whose Node object gives the addresses that NodePorts answer at.
    adopted: what the kernel holds at the start, so that backends keep their slots. It is read in
    the first update, which tells of every object, and let go.
    """

    def __init__(self, node: str, adopted: Mapping[Key, str] | None = None) -> None:
        self._node = node
        self._adopted: Mapping[Key, str] = adopted or {}
        self._slices: dict[ObjectName, dict[ObjectName, EndpointSlice]] = {}
        self._slice_owner: dict[ObjectName, ObjectName] = {}
        self._claimants: dict[ObjectName, Claimant] = {}
        self._frontends: Claims[Claimant, Frontend, Backends] = Claims()
        self._served: dict[Frontend, Served] = {}
        self._shares = Shares()
        self._skeleton = by_key(each for family in FAMILIES for each in skeleton.skeleton(family))
        self._cluster: dict[Key, Object] = {}
        self._problems: dict[ObjectName, list[ObjectError]] = {}
        self._told = False

    @property
    def tables(self) -> Sequence[Table]:
        """The proxy's table of each family."""
        return TABLES

    @property
    def wanted(self) -> Mapping[Key, Object]:
        """Everything that should be in force."""
        return Walk(self._walk)

    @property
    def problems(self) -> Sequence[ObjectError]:
        """Endpoints that cannot be used, and addresses that an older Service holds already."""
        found = [error for name in sorted(self._problems) for error in self._problems[name]]
        for claimant in sorted(self._frontends.rivals()):
            for frontend, holder in self._frontends.losers(claimant).items():
                reason = f"{frontend} is Service {holder.name}'s, which is older"
                found.append(ObjectError("", f"Service {claimant.name}", "spec.ports", reason))
        return found

    def backends(self, frontend: Frontend) -> tuple[Backend, ...]:
        """The backends of a frontend in the order of their slots; for people and drawings."""
        served = self._served.get(frontend)
        return served.slots if served else ()

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update. The first answer is a walk: use it before the next update."""
        answer: dict[Key, Object | None] = {}
        if any(change.kind is Node for change in changes):
            answer.update(self._update_cluster(snapshot))
        touched: set[Frontend] = set()
        for name in sorted(self._dirty(changes)):
            touched |= self._update_service(name, snapshot.get(Service, name))
        for frontend in sorted(touched):
            changed = self._update_frontend(frontend)
            if self._told:
                answer.update(changed)
        self._adopted = {}
        if self._told:
            return answer
        self._told = True
        return self.wanted

    def _walk(self) -> Iterator[Object]:
        """See nft.desired.Walk: what a verdict leads to stands before the verdict."""
        yield from self._skeleton.values()
        yield from self._cluster.values()
        yield from self._shares.chains()
        yield from self._shares.elements(skeleton.HAIRPIN)
        address = ""
        for frontend in sorted(self._served):
            for each in frontend_objects(frontend, *self._served[frontend]):
                if isinstance(each, Chain) or (
                    isinstance(each, Element)
                    and (each.set == skeleton.HAIRPIN or each.parts == (address,))
                ):
                    continue  # it came already
                yield each
            address = frontend.address

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
        new = change.new if change.new and NOT_OURS.isdisjoint(change.new.labels) else None
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
        if service is not None and NOT_OURS.isdisjoint(service.labels):
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
        before = self._served.pop(frontend, None)
        have = by_key(frontend_objects(frontend, *before)) if before else {}
        now = self._frontends.winners.get(frontend)
        want: dict[Key, Object] = {}
        if now is not None:
            slots = before.slots if before else slots_in_force(frontend, self._adopted)
            served = self._served[frontend] = Served(now.label, assign(slots, now.usable))
            want = by_key(frontend_objects(frontend, *served))
        return self._shares.replace(have, want)

    def _update_cluster(self, snapshot: Snapshot) -> Mapping[Key, Object | None]:
        mine = snapshot.get(Node, ObjectName("", self._node))
        cidrs = [cidr for node in snapshot.all(Node) for cidr in node.pod_cidrs]
        before = self._cluster
        self._cluster = by_key(cluster_elements(mine.internal_ips if mine else (), cidrs))
        gone = dict.fromkeys(before.keys() - self._cluster.keys())
        return {**gone, **{k: v for k, v in self._cluster.items() if k not in before}}
