"""A Service and its EndpointSlices as frontends, each with its plan.

    dialled by                 who is served by    source of the address
    clusterIPs                 internalTrafficPolicy   spec, one a family
    LoadBalancer's addresses   externalTrafficPolicy   status, ipMode VIP or none
    externalIPs                externalTrafficPolicy   spec
    NodePorts                  externalTrafficPolicy   spec.ports[].nodePort, of any type

A family in which the Service has no cluster address is served nowhere. What breaks a rule is
left out and told; the rest of the Service is served.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from msgspec.structs import replace

from podwire_core.errors import ObjectError
from podwire_core.family import Family, canonical_address, canonical_network, family_of
from podwire_core.nft.intervals import disjoint
from podwire_core.objects import EndpointSlice, Service, ServicePort
from podwire_proxy.cidrs import SPECIAL, is_special
from podwire_proxy.endpoints import Checked, Endpoints, Place, checked, endpoints_of
from podwire_proxy.frontend import Affinity, Backend, Frontend, Guard, Plan, Policy
from podwire_proxy.health import HealthCheck

#: Endpoints that one port of a Service may have in each family; more are left out and told.
MAX_BACKENDS = 4096
#: Addresses and ports of one Service, and what is told of it: an object may list any number.
MAX_FRONTENDS = 16_384
MAX_PROBLEMS = 20
MAX_REASON = 200  # characters, because a reason quotes what was written
#: sessionAffinityConfig.clientIP.timeoutSeconds (core/v1): its default and its most, in seconds.
AFFINITY_SECONDS = 10_800
MAX_AFFINITY_SECONDS = 86_400


class Planned(NamedTuple):
    """What becomes of a Service. health: what its healthCheckNodePort is to say, if it has one."""

    frontends: dict[Frontend, Plan]
    problems: list[ObjectError]
    health: HealthCheck | None = None


def plan(service: Service, slices: Iterable[EndpointSlice], place: Place) -> Planned:
    """The Service's frontends. Empty for headless Services and ExternalName."""
    if not service.cluster_ips:
        return Planned({}, [])
    known = [checked(each) for each in sorted(slices, key=lambda each: each.metadata.name)]
    made = _Planner(service, known, place)
    made.wrong_addresses()
    for family in Family:
        made.family(family)
    health = made.health()
    return Planned(made.frontends, made.told(), health)


@dataclass
class _Planner:
    service: Service
    slices: Sequence[Checked]
    place: Place
    frontends: dict[Frontend, Plan] = field(default_factory=dict)
    problems: dict[ObjectError, None] = field(default_factory=dict)  # ordered, and each once

    def family(self, family: Family) -> None:
        """Every frontend of a family."""
        vip = next((each for each in self.service.cluster_ips if family_of(each) is family), None)
        if vip is None:
            return
        balancers = [each for each in self._balancer_ips() if family_of(each) is family]
        externals = [each for each in self._external_ips() if family_of(each) is family]
        guard = self._guard(family) if balancers else None
        for port in self.service.spec.ports or ():
            self._port(port, family, vip, (balancers, externals, guard))

    def _port(
        self,
        port: ServicePort,
        family: Family,
        vip: str,
        outside: tuple[list[str], list[str], Guard | None],
    ) -> None:
        balancers, externals, guard = outside
        spec = self.service.spec
        label = f"{self.service.name}:{port.name or port.port}"
        found = self._bounded(label, endpoints_of(self.slices, port, family, self.place))
        inside = Policy.LOCAL if spec.internal_traffic_policy == "Local" else Policy.CLUSTER
        external = Policy.SPLIT if spec.external_traffic_policy == "Local" else Policy.CLUSTER
        plan_ = Plan(
            label,
            inside,
            external=False,
            cluster=found.cluster,
            local=found.local,
            alive=bool(found.cluster),
            near=found.near,
            affinity=self._affinity(f"{self.service.name}:{port.name}:{port.port}/{port.protocol}"),
            serving=found.serving,
        )

        def add(address: str, number: int, what: Plan) -> None:
            if len(self.frontends) >= MAX_FRONTENDS:
                reason = f"more than {MAX_FRONTENDS} addresses and ports: the rest is not served"
                self._problem("spec", reason)
                return
            # Its own cluster address again: the first meaning counts.
            self.frontends.setdefault(Frontend(family, address, port.protocol, number), what)

        add(vip, port.port, plan_)
        if not (balancers or externals or port.node_port):
            return
        from_outside = replace(plan_, policy=external, external=True)
        for address in balancers:
            add(address, port.port, replace(from_outside, guard=guard))
        for address in externals:
            add(address, port.port, from_outside)
        if port.node_port:
            add("", port.node_port, from_outside)

    def _bounded(self, label: str, found: Endpoints) -> Endpoints:
        most = max(len(found.cluster), len(found.local), len(found.serving))
        if most <= MAX_BACKENDS:
            return found
        reason = f"{label} has {most} endpoints, of which {MAX_BACKENDS} are used"
        self._problem("spec.ports", reason)
        cluster, local = _first(found.cluster), _first(found.local)
        return found._replace(cluster=cluster, local=local)

    def _affinity(self, name: str) -> Affinity | None:
        spec = self.service.spec
        if spec.session_affinity != "ClientIP":
            return None
        config = spec.session_affinity_config
        seconds = config.client_ip.timeout_seconds if config and config.client_ip else None
        if seconds is None:
            return Affinity(name, AFFINITY_SECONDS)
        if 0 < seconds <= MAX_AFFINITY_SECONDS:
            return Affinity(name, seconds)
        reason = f"{seconds} is not 1 to {MAX_AFFINITY_SECONDS}; {AFFINITY_SECONDS} is used"
        self._problem("spec.sessionAffinityConfig.clientIP.timeoutSeconds", reason)
        return Affinity(name, AFFINITY_SECONDS)

    def _guard(self, family: Family) -> Guard | None:
        """The family's source ranges; None where there are none, which lets everyone in.

        Where none of them all can be read, no one is let in.
        """
        written = self.service.spec.load_balancer_source_ranges or ()
        said = [each for each in written if each.strip()]
        where = "spec.loadBalancerSourceRanges"
        ranges = list(self._readable(where, said, canonical_network))
        of_family = disjoint(each for each in ranges if family_of(each) is family)
        if not of_family and (ranges or not said):
            return None
        own = [ip_address(each) for each in self.place.ips if family_of(each) is family]
        node = any(each in ip_network(cidr) for each in own for cidr in of_family)
        return Guard(of_family, node)

    def _balancer_ips(self) -> Iterator[str]:
        """What is the balancer's own (ipMode Proxy) goes out to it; hostnames are DNS's."""
        rows = self.service.status.load_balancer.ingress or ()
        said = [row.ip for row in rows if row.ip_mode in {None, "VIP"}]
        return self._readable("status.loadBalancer.ingress", said, _ordinary)

    def _external_ips(self) -> Iterator[str]:
        said = self.service.spec.external_ips or ()
        return self._readable("spec.externalIPs", said, _ordinary)

    def _readable(
        self, where: str, said: Iterable[str], read: Callable[[str], str]
    ) -> Iterator[str]:
        """Those that can be read; each that cannot is told once."""
        for text in said:
            if not text.strip():
                continue
            try:
                yield read(text.strip())
            except ValueError as error:
                self._problem(where, str(error))

    def wrong_addresses(self) -> None:
        """Tell addresses that are not of their slice's addressType, or lead nowhere."""
        for each in self.slices:
            for index, address in each.wrong.items():
                kind = each.slice.address_type
                label = f"EndpointSlice {each.slice.name}"
                where = f"endpoints[{index}].addresses[0]"
                reason = f"{address} is {SPECIAL if family_of(address) == kind else f'not {kind}'}"
                self.problems[ObjectError("", label, where, reason)] = None

    def health(self) -> HealthCheck | None:
        """For the balancer, which sends to nodes that have endpoints."""
        spec = self.service.spec
        if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
            return None
        if not spec.health_check_node_port:
            self._problem("spec.healthCheckNodePort", "is needed by externalTrafficPolicy Local")
            return None
        mine = max(map(self._local_addresses, Family))
        return HealthCheck(spec.health_check_node_port, mine)

    def _local_addresses(self, family: Family) -> int:
        """Ready endpoints of a family on this node, over all ports."""
        return len(
            {
                address
                for each in self.slices
                if each.slice.address_type == family
                if any(row.port for row in each.slice.ports or ())
                for address, endpoint in each.usable
                if endpoint.ready and endpoint.node_name == self.place.node
            }
        )

    def _problem(self, where: str, reason: str) -> None:
        if len(reason) > MAX_REASON:
            reason = f"{reason[:MAX_REASON]}..."
        self.problems[ObjectError("", f"Service {self.service.name}", where, reason)] = None

    def told(self) -> list[ObjectError]:
        """The problems; of many, the first."""
        found = list(self.problems)
        if len(found) > MAX_PROBLEMS:
            reason = f"{len(found) - MAX_PROBLEMS} more problems like these"
            found[MAX_PROBLEMS:] = [ObjectError("", f"Service {self.service.name}", "", reason)]
        return found


def _first(backends: frozenset[Backend]) -> frozenset[Backend]:
    return frozenset(sorted(backends)[:MAX_BACKENDS])


def _ordinary(text: str) -> str:
    """An address that a Service may have. Raises ValueError for any other text."""
    address = canonical_address(text)
    if is_special(address):
        raise ValueError(f"{address} is {SPECIAL}")
    return address
