"""The proxy's desired state, kept up to date object by object.

    Service, slices ─► frontends, plans ─► (older Service wins) ─► slots ─► elements

A change costs what it touches: an endpoint that comes or goes changes its own slot, the
frontend's number (another count, another choose chain) and nothing of any other Service.
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
from podwire_core.family import FAMILIES, Family
from podwire_core.garbage import collection_paused
from podwire_core.nft.desired import Walk
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.objects import (
    EndpointSlice,
    Node,
    ObjectName,
    Protocol,
    Service,
    ServiceCIDR,
)
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy import layout as names
from podwire_proxy.chains import standing
from podwire_proxy.cluster import Cluster
from podwire_proxy.elements import Served, beside_slots, frontend_objects, slots_of
from podwire_proxy.frontend import Backend, Frontend, Plan
from podwire_proxy.gauges import Gauges, Lacking
from podwire_proxy.health import HealthCheck
from podwire_proxy.layout import Layout
from podwire_proxy.options import Options
from podwire_proxy.plans import Planned, plan
from podwire_proxy.shares import Shares, by_key, is_shared
from podwire_proxy.skeleton import skeleton
from podwire_proxy.sockets import Sockets

TABLES = tuple(names.table(family) for family in FAMILIES)
NOT_OURS = frozenset({"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"})

#: Services that are told at once that an older one has their address and port.
MAX_LOSERS = 100
_MEMBERS = {names.members(protocol): protocol for protocol in Protocol}


class Claimant(NamedTuple):
    """A Service in order of its right: the older one, then the one whose name sorts first."""

    created: str
    name: ObjectName


class Services:
    """Implements podwire_core.nft.desired.Desired.

    node: our own name, whose Node object gives the addresses that NodePorts answer at.
    adopted: what the kernel holds at the start, so that backends keep their slots. It is read in
    the first update, which tells of every object, and let go.
    sockets: told of each frontend that changes, to say the same to socket programs.
    """

    def __init__(
        self,
        node: str,
        adopted: Mapping[Key, str] | None = None,
        options: Options | None = None,
        sockets: Sockets | None = None,
    ) -> None:
        self._options = options or Options()
        self._sockets = sockets
        self._adopted: Mapping[Key, str] = adopted or {}
        self._slices: dict[ObjectName, dict[ObjectName, EndpointSlice]] = {}
        self._slice_owner: dict[ObjectName, ObjectName] = {}
        self._claimants: dict[ObjectName, Claimant] = {}
        self._frontends: Claims[Claimant, Frontend, Plan] = Claims()
        self._served: dict[Frontend, Served] = {}
        self._shares = Shares()
        self._gauges = Gauges(tcp=self._options.tcp_serving)
        self._uses = self._gauges.uses
        self._cluster = Cluster.of(node, self._options, Snapshot())
        self._layouts = self._cluster.layouts(self._options)
        self._fixed = self._fixed_objects()
        self._problems: dict[ObjectName, list[ObjectError]] = {}
        self._health: dict[ObjectName, HealthCheck] = {}
        self._told = False
        #: Maps of remembered clients of which some may go to an endpoint that is none any more.
        self.forgetful: set[tuple[Family, Protocol]] = set()

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
        """What of the objects cannot be used, and addresses that an older Service holds already."""
        found = [error for name in sorted(self._problems) for error in self._problems[name]]
        for claimant, frontend, holder in self._frontends.lost(MAX_LOSERS):
            reason = f"{frontend} is Service {holder.name}'s, which is older"
            found.append(ObjectError("", f"Service {claimant.name}", "spec.ports", reason))
        return found

    @property
    def health_checks(self) -> Mapping[ObjectName, HealthCheck]:
        """What each healthCheckNodePort is to say."""
        return self._health

    @property
    def udp_serving(self) -> Mapping[Frontend, frozenset[Backend]]:
        """UDP frontends, and the endpoints whose conversations go on."""
        return self._gauges.udp_serving

    @property
    def nodeport_networks(self) -> tuple[str, ...]:
        """Where NodePorts answer, as far as the node has addresses in there."""
        return self._cluster.nodeport_networks(self._options)

    @property
    def udp_changes(self) -> int:
        """How often udp_serving has changed."""
        return self._gauges.udp_changes

    @property
    def serving(self) -> Mapping[Frontend, frozenset[Backend]]:
        """The same, and of TCP where the options ask for it; a copy."""
        return self._gauges.serving

    @property
    def serving_changes(self) -> int:
        """How often serving has changed."""
        return self._gauges.serving_changes

    @property
    def pod_networks(self) -> tuple[str, ...]:
        """Who counts as a pod by its address; nothing where the options say it otherwise."""
        return () if self._options.local.interface else self._cluster.pod_cidrs

    @property
    def node_addresses(self) -> tuple[str, ...]:
        """Our Node's InternalIPs."""
        return self._cluster.place.ips

    @property
    def no_local(self) -> Mapping[Family, Lacking]:
        """How many Services' ports drop because no endpoint is on this node."""
        return self._gauges.no_local

    def backends(self, frontend: Frontend) -> tuple[Backend, ...]:
        """The backends of a frontend in the order of their slots; for people and drawings."""
        served = self._served.get(frontend)
        return served.first if served else ()

    def members(self, family: Family, protocol: Protocol) -> frozenset[str]:
        """Whom remembered clients may be returned to: `17 . 4 . 10.244.1.9 . 80`, see layout."""
        return self._shares.texts(family, names.members(protocol))

    def update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        """See Desired.update. The first answer is a walk: use it before the next update."""
        if self._told:
            return self._update(snapshot, changes)
        with collection_paused():
            return self._update(snapshot, changes)

    def _update(self, snapshot: Snapshot, changes: Sequence[Change]) -> Mapping[Key, Object | None]:
        answer: dict[Key, Object | None] = {}
        dirty = self._dirty(changes)
        if any(change.kind in {Node, ServiceCIDR} for change in changes):
            moved, changed = self._update_cluster(snapshot)
            answer.update(changed)
            if moved:
                dirty |= self._claimants.keys()
        touched: set[Frontend] = set()
        for name in sorted(dirty):
            touched |= self._update_service(name, snapshot.get(Service, name))
        for frontend in sorted(touched):
            if self._told:
                answer.update(self._update_frontend(frontend))
            else:
                self._begin_frontend(frontend)
        if self._uses != self._gauges.uses:
            answer.update(self._refix())
        self._adopted = {}
        if self._told:
            self._note_forgotten(answer)
            return {**answer, **{k: self._fixed[k] for k in answer.keys() & self._fixed.keys()}}
        self._told = True
        self.forgetful = {(family, protocol) for family in FAMILIES for protocol in Protocol}
        return self.wanted

    def _walk(self) -> Iterator[Object]:
        """See nft.desired.Walk: what a number or a verdict leads to stands before it.

        A Service's own address comes with its frontends, of which it refuses every other port: all
        of them at first would refuse everyone until the last frontend is in force.
        """
        yield from self._fixed.values()
        for each in self._shares.walk():
            if each.key not in self._fixed and not _is_cluster_ip(each):
                yield each
        last: Key = ()
        for frontend in sorted(self._served):
            layout = self._layouts[frontend.family]
            served = self._served[frontend]
            yield from slots_of(layout, frontend, served)
            for each in beside_slots(layout, frontend, served):
                if not is_shared(each):
                    yield each
                elif _is_cluster_ip(each) and each.key != last:  # of several ports, once
                    last = each.key
                    yield each

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
        """The Services that a slice belonged and belongs to."""
        before = self._slice_owner.pop(change.name, None)
        if before is not None:
            del self._slices[before][change.name]
            if not self._slices[before]:
                del self._slices[before]
        new = change.new if change.new and NOT_OURS.isdisjoint(change.new.labels) else None
        after = new.service if isinstance(new, EndpointSlice) else None
        if after is not None and isinstance(new, EndpointSlice):
            self._slice_owner[change.name] = after
            self._slices.setdefault(after, {})[change.name] = new
        return {name for name in (before, after) if name is not None}

    def _update_service(self, name: ObjectName, service: Service | None) -> set[Frontend]:
        """Frontends whose plan changed because this Service did."""
        touched: set[Frontend] = set()
        planned = Planned({}, [])
        before = self._claimants.pop(name, None)
        if service is not None and NOT_OURS.isdisjoint(service.labels):
            planned = plan(service, self._slices.get(name, {}).values(), self._cluster.place)
            self._claimants[name] = Claimant(service.metadata.creation_timestamp or "~", name)
        self._tell(name, planned)
        after = self._claimants.get(name)
        if before is not None and before != after:
            touched |= self._frontends.replace(before, {}).keys()
        if after is not None:
            touched |= self._frontends.replace(after, planned.frontends).keys()
        return touched

    def _tell(self, name: ObjectName, planned: Planned) -> None:
        self._problems.pop(name, None)
        self._health.pop(name, None)
        if planned.problems:
            self._problems[name] = planned.problems
        if planned.health:
            self._health[name] = planned.health

    def _begin_frontend(self, frontend: Frontend) -> None:
        """The first update: all is told at once, by a walk (see wanted)."""
        now = self._frontends.winners.get(frontend)
        if now is not None:
            served = Served.after(None, now, frontend, self._adopted)
            self._served[frontend] = served
            if self._sockets is not None:
                self._sockets.replace(frontend, served)
            self._gauges.replace(frontend, None, now)
            layout = self._layouts[frontend.family]
            self._shares.begin(beside_slots(layout, frontend, served))

    def _update_frontend(self, frontend: Frontend) -> Mapping[Key, Object | None]:
        """Objects that changed because this frontend's plan did."""
        layout = self._layouts[frontend.family]
        before = self._served.pop(frontend, None)
        have = by_key(frontend_objects(layout, frontend, before)) if before else {}
        now = self._frontends.winners.get(frontend)
        want: dict[Key, Object] = {}
        if now is not None:
            served = Served.after(before, now, frontend, self._adopted)
            self._served[frontend] = served
            want = by_key(frontend_objects(layout, frontend, served))
        if self._sockets is not None:
            self._sockets.replace(frontend, self._served.get(frontend))
        self._gauges.replace(frontend, before.plan if before else None, now)
        return self._shares.replace(have, want)

    def _update_cluster(self, snapshot: Snapshot) -> tuple[bool, Mapping[Key, Object | None]]:
        """Whether Services have to be looked at anew, and what changed beside them."""
        cluster = Cluster.of(self._cluster.place.node, self._options, snapshot)
        if cluster == self._cluster:
            return False, {}
        moved = cluster.place != self._cluster.place
        self._cluster = cluster
        if self._sockets is not None:
            self._sockets.set_service_cidrs(cluster.service_cidrs)
        answer = self._relayout(cluster.layouts(self._options))
        return moved, answer | self._refix()

    def _relayout(self, layouts: dict[Family, Layout]) -> dict[Key, Object | None]:
        """Chains that ask who is a pod, when no one could tell before, or no one can any more."""
        answer: dict[Key, Object | None] = {}
        old, self._layouts = self._layouts, layouts
        for frontend, served in self._served.items():
            before, now = old[frontend.family], layouts[frontend.family]
            if before != now:
                have = by_key(frontend_objects(before, frontend, served))
                answer |= self._shares.replace(
                    have, by_key(frontend_objects(now, frontend, served))
                )
        return answer

    def _refix(self) -> dict[Key, Object | None]:
        """What Nodes, ServiceCIDRs and the sum of all Services say, where it says something new."""
        self._uses = self._gauges.uses
        before, self._fixed = self._fixed, self._fixed_objects()
        gone = dict.fromkeys(before.keys() - self._fixed.keys())
        return {**gone, **{k: v for k, v in self._fixed.items() if before.get(k) != v}}

    def _fixed_objects(self) -> dict[Key, Object]:
        """The skeleton and what Nodes and ServiceCIDRs say."""
        made: dict[Key, Object] = {}
        for family, layout in self._layouts.items():
            made |= by_key(skeleton(layout, self._uses[family])) | by_key(standing(layout))
        return made | by_key(self._cluster.elements(self._options))

    def _note_forgotten(self, answer: Mapping[Key, Object | None]) -> None:
        """Endpoints that are none any more: their clients are to be forgotten."""
        for key, each in answer.items():
            if each is None and len(key) == 5 and key[3] in _MEMBERS:
                family = next(family for family in FAMILIES if family.nft == key[0])
                self.forgetful.add((family, _MEMBERS[key[3]]))


def _is_cluster_ip(each: Object) -> bool:
    return isinstance(each, Element) and each.set == names.CLUSTER_IPS
