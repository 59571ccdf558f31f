"""A question's connections as policies meet them: between addresses, after DNAT. Pure.

a pod and a pod        one a family that both have
a pod and a Service    one an endpoint that the Service may choose for it, and family
a node's nodePort      the same, chosen by that node (node_ports)
without a port         one a port that the Service has, or that the pod declares
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from podwire_core.family import FAMILIES, Family, family_of
from podwire_core.objects import (
    EndpointSlice,
    Node,
    ObjectName,
    Pod,
    Protocol,
    Service,
    ServicePort,
)
from podwire_core.snapshot import Snapshot
from podwire_node.explain.node_ports import NodePort, node_port
from podwire_node.explain.question import Question, QuestionError
from podwire_proxy.endpoints import Checked, Place, checked, endpoints_of

MAX_FLOWS = 200  # of a Service with many endpoints the rest is not judged, which is told

Owner = Callable[[str], Pod | None]

_HEADLESS = "without an address"


@dataclass(frozen=True, slots=True)
class Flow:
    """One connection; destination and port as they are after DNAT. dialled: a Service's words.

    through: address and port that it has before, where another node than the source's translates
    it; "" where none does. seen_as: the source that the destination's node sees.
    """

    source: str
    destination: str
    port: int
    protocol: Protocol
    dialled: str = ""
    through: tuple[str, int] = ("", 0)
    seen_as: str = ""


@dataclass(frozen=True)
class Flows:
    """The connections to judge, at most MAX_FLOWS, and what a person should know of them."""

    flows: tuple[Flow, ...]
    notes: tuple[str, ...] = ()


def flows_of(snapshot: Snapshot, owner: Owner, question: Question, node: str = "") -> Flows:
    """The connections of a question. owner: whose an address is.

    node: of several pods that a name may mean, one of this node is taken.

    Raises QuestionError, with what is missing, when there is none.
    """
    asked = _Asked(snapshot, owner, question, node)
    found = tuple(islice(asked.flows(), MAX_FLOWS + 1))
    if not found:
        raise QuestionError(f"{question.source} and {question.destination} share no family")
    notes = tuple(asked.notes)
    if len(found) > MAX_FLOWS:
        notes += (f"there are more connections: these are the first {MAX_FLOWS}",)
    return Flows(found[:MAX_FLOWS], notes)


class _Asked:
    """One question over one snapshot."""

    def __init__(self, snapshot: Snapshot, owner: Owner, question: Question, node: str) -> None:
        self.node = node
        self.snapshot = snapshot
        self.owner = owner
        self.question = question
        self.notes: list[str] = []
        self._destination: Pod | None = None

    def flows(self) -> Iterator[Flow]:
        sources = self._sources(self.question.source)
        if (at_node := node_port(self.snapshot, self.question)) is not None:
            return self._by_node_port(sources, at_node)
        service = self._service()
        if service is not None:
            return self._by_service(sources, service)
        return self._by_address(sources)

    # ------------------------------------------------------------------------- the ends

    def _sources(self, end: ObjectName | str) -> dict[Family, str]:
        if isinstance(end, str):
            return {family_of(end): end}
        if (pod := self._pod(end)) is None:
            raise QuestionError(f"there is no pod {end}{self._similar(end, Pod)}")
        return self._addresses(pod)

    def _pod(self, name: ObjectName) -> Pod | None:
        """The pod, or one of those that a controller made under this name."""
        if (pod := self.snapshot.get(Pod, name)) is not None:
            return pod
        begins = f"{name}-"
        named = [each for each in self.snapshot.all(Pod) if str(each.name).startswith(begins)]
        alive = [each for each in named if each.ips or each.spec.host_network] or named
        if not alive:
            return None
        found = min(alive, key=lambda each: (each.spec.node_name != self.node, each.name))
        more = f", one of {len(alive)}" if len(alive) > 1 else ""
        self.notes.append(f"{name} is taken for pod {found.name}{more}")
        return found

    def _addresses(self, pod: Pod) -> dict[Family, str]:
        """What a pod can be reached by; one a family."""
        if pod.spec.host_network:
            node = self.snapshot.get(Node, ObjectName("", pod.spec.node_name))
            ips: Iterable[str] = node.internal_ips if node else ()
            why = "it is in its node's network, whose Node has no address that is known here"
        else:
            ips = [ip for ip in pod.ips if self.owner(ip) == pod]
            finished = pod.status.phase in {"Succeeded", "Failed"}
            lost = "its address is another pod's" if pod.ips else "it has no address yet"
            why = f"it has ended ({pod.status.phase})" if finished else lost
        found: dict[Family, str] = {}
        for ip in ips:
            found.setdefault(family_of(ip), ip)
        if not found:
            raise QuestionError(f"pod {pod.name} cannot talk: {why}")
        return found

    def _service(self) -> Service | None:
        """The Service that is dialled, if it is one."""
        end = self.question.destination
        if isinstance(end, str):
            return next((s for s in self.snapshot.all(Service) if end in _addresses(s)), None)
        service, pod = self.snapshot.get(Service, end), self.snapshot.get(Pod, end)
        if service is None and pod is None:
            pod = self._pod(end)
        if service is not None and pod is not None:
            self.notes.append(
                f"{end} is taken for the pod; dial {_one(service)} for the Service of that name"
            )
        if service is None and pod is None:
            kinds = self._similar(end, Pod, Service)
            unread = "" if self.snapshot.has(Service) else "; no Service is known to this agent"
            raise QuestionError(f"there is no pod and no Service {end}{kinds}{unread}")
        self._destination = pod
        return None if pod is not None else service

    def _similar(self, name: ObjectName, *kinds: type[Pod | Service]) -> str:
        """What somebody who mistyped a name may have meant."""
        known = [str(each.name) for kind in kinds for each in self.snapshot.all(kind)]
        close = get_close_matches(str(name), known, n=3, cutoff=0.75)
        return f": did you mean {', '.join(close)}?" if close else ""

    # ------------------------------------------------------------------ without a Service

    def _by_address(self, sources: dict[Family, str]) -> Iterator[Flow]:
        end = self.question.destination
        if isinstance(end, str):
            targets, pod = {family_of(end): end}, self.owner(end)
            self._note_host_ports(end)
        else:
            pod = self._destination
            targets = self._addresses(pod) if pod else {}
        ports = self._pod_ports(pod)
        for family in FAMILIES:
            if family in sources and family in targets:
                for port, protocol in ports:
                    yield Flow(sources[family], targets[family], port, protocol)

    def _note_host_ports(self, address: str) -> None:
        if any(address in node.internal_ips for node in self.snapshot.all(Node)):
            self.notes.append(f"{address} is a node: where a pod's hostPort leads is not looked at")

    def _pod_ports(self, pod: Pod | None) -> list[tuple[int, Protocol]]:
        """The port that is asked for, or those that the pod declares."""
        port, protocol = self.question.port, self.question.protocol
        if isinstance(port, int):
            return [(port, protocol or Protocol.TCP)]
        declared = [
            (row.container_port, row.protocol)
            for row in (pod.ports if pod else ())
            if protocol in {None, row.protocol} and port in {None, row.name}
        ]
        if not declared:
            whose = f"pod {pod.name}" if pod else str(self.question.destination)
            what = f"no port {port!r}" if port else "no port"
            like = _joined(str(self.question.destination), 80)
            raise QuestionError(f"{whose} declares {what}: write its number behind it, {like}")
        return list(dict.fromkeys(declared))

    # --------------------------------------------------------------------- by a Service

    def _by_service(self, sources: dict[Family, str], service: Service) -> Iterator[Flow]:
        slices = self._slices(service)
        self._note_masquerade(sources, service)
        ports = self._service_ports(service)
        served = False
        for family in FAMILIES:
            dialled = self._dialled(service, family)
            if family not in sources or not dialled:
                continue
            for port in ports:
                found = endpoints_of(slices, port, family, self._place(sources[family]))
                local = service.spec.internal_traffic_policy == "Local"
                for backend in sorted(found.local if local else found.cluster):
                    served = True
                    at = _joined(dialled, port.port) if dialled != _HEADLESS else dialled
                    words = f"Service {service.name} {at}"
                    yield Flow(sources[family], backend.address, backend.port, port.protocol, words)
        if not served:
            raise QuestionError(
                f"Service {service.name} has no endpoint for {self.question.source}: what dials it "
                "is refused, whatever policies say"
            )

    def _by_node_port(self, sources: dict[Family, str], dialled: NodePort) -> Iterator[Flow]:
        family = family_of(dialled.address)
        if family not in sources:
            return
        source, service, port = sources[family], dialled.service, dialled.port
        lists = endpoints_of(self._slices(service), port, family, dialled.place)
        home = self._home(source)
        at = _joined(dialled.address, port.node_port)
        through = (dialled.address, port.node_port) if home != dialled.place.node else ("", 0)
        for backend in dialled.backends(lists, home):
            elsewhere = self._home(backend.address) != dialled.place.node
            yield Flow(
                source,
                backend.address,
                backend.port,
                port.protocol,
                f"Service {service.name} {at}",
                through,
                dialled.address if elsewhere else "",
            )

    def _home(self, address: str) -> str:
        """The node of the pod that has an address; "" where none has."""
        pod = self.owner(address)
        return pod.spec.node_name if pod else ""

    def _slices(self, service: Service) -> list[Checked]:
        slices = self.snapshot.all(EndpointSlice)
        return [checked(each) for each in slices if each.service == service.name]

    def _service_ports(self, service: Service) -> list[ServicePort]:
        port, protocol = self.question.port, self.question.protocol
        every = service.spec.ports or ()
        found = [
            row
            for row in every
            if port in {None, row.port, row.name} and protocol in {None, row.protocol}
        ]
        if not found:
            known = ", ".join(map(_port_words, every))
            wanted = f"port {'/'.join(map(str, filter(None, (port, protocol))))}"
            raise QuestionError(f"Service {service.name} has no {wanted}: it has {known or 'none'}")
        return found

    def _note_masquerade(self, sources: dict[Family, str], service: Service) -> None:
        """Who is no pod comes in by a node, which may put itself in place of the source."""
        if any(self.owner(source) for source in sources.values()):
            return
        self.notes.append(
            f"{self.question.source} is no pod: the node that it dials {service.name} by puts its "
            "own address in its place for endpoints elsewhere; judge that one as SRC, too"
        )

    def _dialled(self, service: Service, family: Family) -> str:
        """The Service's address that is dialled; "" where it has none of this family."""
        end = self.question.destination
        if isinstance(end, str):
            return end if family_of(end) is family else ""
        if not service.cluster_ips and family is FAMILIES[0]:
            self.notes.append(f"Service {service.name} has no address: names lead to its endpoints")
        headless = "" if service.cluster_ips else _HEADLESS
        return next((ip for ip in service.cluster_ips if family_of(ip) is family), headless)

    def _place(self, source: str) -> Place:
        """Where the client is, because that node chooses the endpoint."""
        pod = self.owner(source)
        name = pod.spec.node_name if pod else ""
        node = self.snapshot.get(Node, ObjectName("", name))
        return Place(name, node.zone, node.internal_ips) if node else Place(name)


def _addresses(service: Service) -> tuple[str, ...]:
    """Every address that leads to a Service, from inside."""
    balancers = (row.ip for row in service.status.load_balancer.ingress or () if row.ip)
    return (*service.cluster_ips, *(service.spec.external_ips or ()), *balancers)


def _port_words(row: ServicePort) -> str:
    at_nodes = f", at nodes {row.node_port}" if row.node_port else ""
    return f"{row.name} {row.port}/{row.protocol}{at_nodes}".strip()


def _one(service: Service) -> str:
    return next(iter(_addresses(service)), "one of its endpoints")


def _joined(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
