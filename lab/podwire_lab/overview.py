"""How a lab stands: its nodes, pods, Services and problems, read from its files."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from podwire_core import typed
from podwire_core.errors import ObjectError
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Snapshot
from podwire_lab.control.controller import read_manifests, read_report
from podwire_lab.control.desired import desired
from podwire_lab.folders import Folders
from podwire_lab.isolation import PolicyRow, policy_rows
from podwire_lab.kubernetes import plane
from podwire_lab.kubernetes import proxy as kube_proxy
from podwire_lab.kubernetes.settled import (
    KUBERNETES_KINDS,
    RegisteredNode,
    Versions,
    not_mirrored,
    unsettled,
)
from podwire_lab.machine import daemons, processes
from podwire_lab.topology import Lab, LabNode, Proxy
from podwire_lab.workloads import LAB_KINDS, LabEndpointSlice, LabPod, LabService


class AgentStatus(msgspec.Struct, frozen=True):
    """What a lab reads of the file in which an agent says how it is."""

    pid: int = 0
    ready: bool = False
    ready_seconds: float | None = None
    rss_mb: float | None = None
    problems: tuple[str, ...] = ()
    in_sync: bool = False
    waiting: tuple[str, ...] = ()
    proxy_backend: str = ""  # what serves Services to the node's sockets: nftables, ebpf
    proxy_fallback: str = ""  # why it is nftables, where ebpf or auto is wanted

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is wrong, and what it waits for unless a problem says so already."""
        waits = (f"waits for {each}" for each in self.waiting if not self._tells(each))
        why = self.proxy_fallback
        falls = f"nftables answers for Services: {why}" if why and not self._says(why) else ""
        return (*self.problems, *filter(None, [falls]), *waits)

    def _says(self, reason: str) -> bool:
        return any(reason in problem for problem in self.problems)

    def _tells(self, waiting: str) -> bool:
        """Whether a problem has the reason, which follows what is waited for."""
        reason = waiting.partition(": ")[2]
        return bool(reason) and self._says(reason)


class ProgramRow(msgspec.Struct, frozen=True):
    """A program that is not ours: of the control plane, or a node's kube-proxy."""

    name: str
    pid: int
    rss_mb: float
    ready: bool


class NodeRow(msgspec.Struct, frozen=True):
    """One node. `lacks` is what keeps it from taking pods, "" when nothing does.

    `proxy` is who serves Services there in place of our agent.
    """

    name: str
    ips: tuple[str, ...]
    pod_cidrs: tuple[str, ...]
    agent: AgentStatus
    lacks: str = ""
    proxy: ProgramRow | None = None


class PodRow(msgspec.Struct, frozen=True):
    """One pod. `due` pods are those that should be ready, or finished, for the lab to be.

    `isolated`: the directions in which NetworkPolicies isolate it, where look() tells them.
    """

    namespace: str
    name: str
    node: str
    ips: tuple[str, ...]
    phase: str
    ready: bool
    restarts: int
    message: str
    due: bool
    isolated: tuple[str, ...] = ()


class ServiceRow(msgspec.Struct, frozen=True):
    """One Service; `endpoints` counts the addresses that are ready.

    `outer_ips` are for those outside the cluster: its balancer's, and its externalIPs.
    """

    namespace: str
    name: str
    type: str
    cluster_ips: tuple[str, ...]
    ports: tuple[str, ...]
    endpoints: int
    outer_ips: tuple[str, ...] = ()


class Overview(msgspec.Struct, frozen=True):
    """A lab at a moment."""

    lab: str
    nodes: tuple[NodeRow, ...]
    pods: tuple[PodRow, ...]
    services: tuple[ServiceRow, ...]
    problems: tuple[str, ...]
    control_plane: tuple[ProgramRow, ...] = ()
    policies: tuple[PolicyRow, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """What keeps the lab from being ready, a sentence each."""
        agents = [
            f"{row.name}: its agent is not ready" for row in self.nodes if not row.agent.ready
        ]
        nodes = [f"{row.name}: {row.lacks}" for row in self.nodes if row.lacks]
        proxies = [
            f"{row.name}: its {row.proxy.name} is not ready"
            for row in self.nodes
            if row.proxy and not row.proxy.ready
        ]
        pods = [
            f"pod {row.namespace}/{row.name}: {row.message or f'{row.phase}, not ready'}"
            for row in self.pods
            if not row.due
        ]
        return (*agents, *nodes, *proxies, *pods)

    @property
    def progress(self) -> str:
        """One line for a person who waits."""
        agents = sum(row.agent.ready for row in self.nodes)
        pods = sum(row.due for row in self.pods)
        return f"agents {agents}/{len(self.nodes)}, pods {pods}/{len(self.pods)}"


class Lookout:
    """A lab's files, read again and again cheaply. Close it, or use it as a context manager."""

    def __init__(self, lab: Lab) -> None:
        """Raises FeedError when the lab is gone."""
        self.lab = lab
        self.snapshot = Snapshot()
        self._folders = Folders.of(lab.name)
        kinds = KUBERNETES_KINDS if lab.kubernetes else LAB_KINDS
        self._feed = DirectoryFeed(self._folders.objects, kinds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._feed.close()

    def fileno(self) -> int:
        """A descriptor for select(): readable when the control plane has published something."""
        return self._feed.fileno()

    def look(self) -> Overview:
        """How the lab stands now. Raises FeedError when it is gone."""
        for change in self._feed.read().changes:
            self.snapshot.apply(change)
        endpoints = ready_endpoints(self.snapshot)
        nodes = tuple(_node_row(self.lab, node, self.snapshot) for node in self.lab.nodes)
        told = [f"{row.name}: {sentence}" for row in nodes for sentence in row.agent.sentences]
        programs = _control_plane(self.lab)
        return Overview(
            lab=self.lab.name,
            nodes=nodes,
            pods=tuple(map(_pod_row, self.snapshot.all(LabPod))),
            services=tuple(
                _service_row(each, endpoints.get(each.name, 0))
                for each in self.snapshot.all(LabService)
            ),
            problems=(*_ended(self.lab, programs), *_problems(self._folders), *told),
            control_plane=programs,
        )

    def unsettled(self, versions: Versions | None = None) -> tuple[str, ...]:
        """What the control plane has still to take in, a sentence each; empty when it is done.

        versions: what was applied to a real one, as its API server left it.
        """
        if self.lab.kubernetes:
            late = not_mirrored(self._folders.objects, versions or {})
            return (*late, *unsettled(self.snapshot))
        return () if self._would_change_nothing() else ("the controller has work to do",)

    def _would_change_nothing(self) -> bool:
        """Whether the small control plane has taken in everything."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        try:
            manifests = [
                each
                for file in sorted(self._folders.manifests.glob("[!.]*.json"))
                for each in read_manifests(file, file.read_bytes())[0]
            ]
            reports = [
                each
                for file in sorted(self._folders.reports.glob("*/[!.]*.json"))
                for each in read_report(file, file.read_bytes())[0]
            ]
            current: dict[str, Any] = {
                file.name: msgspec.json.decode(file.read_bytes())
                for file in self._folders.objects.glob("[!.]*.json")
            }
        except (OSError, ObjectError, msgspec.DecodeError):
            return False  # something is being written just now
        return desired(self.lab, manifests, reports, current, now).objects == current


def look(lab: Lab) -> Overview:
    """How a lab stands now, its policies, and who of its nodes does not run.

    Raises FeedError when it is gone.
    """
    with Lookout(lab) as lookout:
        overview = lookout.look()
        policies, isolated = policy_rows(lookout.snapshot)
    gone = (*_without_kubelets(lab), *_without_agents(lab, overview.nodes))
    problems = (*gone, *overview.problems)
    pods = tuple(
        msgspec.structs.replace(row, isolated=isolated.get(ObjectName(row.namespace, row.name), ()))
        for row in overview.pods
    )
    return msgspec.structs.replace(overview, problems=problems, pods=pods, policies=policies)


def _without_kubelets(lab: Lab) -> Iterable[str]:
    """Nodes on which nobody looks after pods."""
    for node in daemons.without_runner(lab):
        yield f"{node.name}: its kubelet does not run: its pods go on, and none comes or goes"


def _without_agents(lab: Lab, rows: Iterable[NodeRow]) -> Iterable[str]:
    """Nodes whose agent does not run, or says nothing of itself, with what it said last."""
    for row in rows:
        if row.agent.pid:
            continue
        node = lab.node(row.name)
        runs, last = daemons.agent_pid(lab, node), daemons.last_words(lab, node)
        what = "its agent is not ready" if runs else "its agent does not run"
        yield f"{row.name}: {what}" + (f"; it said last: {last}" if last else "")


def _node_row(lab: Lab, node: LabNode, snapshot: Snapshot) -> NodeRow:
    try:
        raw = daemons.agent_status(lab, node).read_bytes()
        agent = typed.decode(raw, AgentStatus)
    except (OSError, msgspec.DecodeError):
        agent = AgentStatus()
    if agent.pid and not processes.alive(agent.pid):
        agent = AgentStatus()
    row = NodeRow(node.name, node.ips, pod_cidrs(lab, node, snapshot), agent)
    if not lab.kubernetes:
        return row
    proxy = None if lab.proxy is Proxy.PODWIRE else _kube_proxy(lab, node)
    return msgspec.structs.replace(row, lacks=_lack(snapshot, node), proxy=proxy)


def pod_cidrs(lab: Lab, node: LabNode, snapshot: Snapshot) -> tuple[str, ...]:
    """The CIDRs of a node's pods: the plan's, or what a real control plane gave its Node."""
    if not lab.kubernetes:
        return node.pod_cidrs
    found = snapshot.get(RegisteredNode, ObjectName("", node.name))
    return (found.spec.pod_cidrs or ()) if found else ()


def _lack(snapshot: Snapshot, node: LabNode) -> str:
    """What keeps a node from taking pods."""
    found = snapshot.get(RegisteredNode, ObjectName("", node.name))
    return found.lacks if found else "it is not registered yet"


def _kube_proxy(lab: Lab, node: LabNode) -> ProgramRow:
    pid = kube_proxy.pid(lab, node)
    ready = bool(pid) and kube_proxy.serves(node)
    return ProgramRow(lab.proxy.value, pid, processes.resident_mb(pid), ready)


def _control_plane(lab: Lab) -> tuple[ProgramRow, ...]:
    if not lab.kubernetes:
        return ()
    running = plane.running(lab)
    return tuple(
        ProgramRow(name, pid := running.get(name, 0), processes.resident_mb(pid), bool(pid))
        for name in plane.PROGRAMS
    )


def _ended(lab: Lab, rows: Iterable[ProgramRow]) -> Iterable[str]:
    """Programs of the control plane that do not run, with what they said last."""
    for row in rows:
        if not row.pid:
            last = plane.last_words(lab, row.name)
            yield f"{row.name} does not run" + (f"; it said last: {last}" if last else "")


def _pod_row(pod: LabPod) -> PodRow:
    status = pod.status
    return PodRow(
        namespace=pod.name.namespace,
        name=pod.name.name,
        node=pod.spec.node_name,
        ips=tuple(row.ip for row in status.pod_ips or ()),
        phase="Terminating" if pod.terminating else status.phase,
        ready=pod.ready,
        restarts=sum(row.restart_count for row in status.container_statuses or ()),
        message=status.message,
        due=not pod.terminating and (pod.ready or status.phase == "Succeeded"),
    )


def _service_row(service: LabService, endpoints: int) -> ServiceRow:
    ports = tuple(
        f"{row.port}{f':{row.node_port}' if row.node_port else ''}/{row.protocol}"
        for row in service.spec.ports or ()
    )
    return ServiceRow(
        namespace=service.name.namespace,
        name=service.name.name,
        type=service.spec.type,
        cluster_ips=service.cluster_ips,
        ports=ports,
        endpoints=endpoints,
        outer_ips=service.outer_ips,
    )


def ready_endpoints(snapshot: Snapshot) -> dict[ObjectName, int]:
    """Ready endpoints by Service, in the address family that has most."""
    services = {each.name: each for each in snapshot.all(LabService)}
    counts: dict[tuple[ObjectName, str], int] = {}
    for each in snapshot.all(LabEndpointSlice):
        service = services.get(each.service) if each.service else None
        if service is not None:
            key = (service.name, each.address_type)
            counts[key] = counts.get(key, 0) + each.ready_for(service)
    most: dict[ObjectName, int] = {}
    for (name, _), count in counts.items():
        most[name] = max(count, most.get(name, 0))
    return most


def _problems(folders: Folders) -> Iterable[str]:
    """What the control plane cannot use."""
    try:
        rows = typed.decode((folders.root / "problems.json").read_bytes(), list[dict[str, str]])
    except (OSError, msgspec.DecodeError):
        return ()
    return tuple(": ".join(value for value in row.values() if value) for row in rows)
