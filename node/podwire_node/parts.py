"""The parts of an agent: each keeps one thing right, and the loop knows them all alike.

    component   part         what it keeps              when it may begin: these were read
    policy      policy       table podwire-policy       Pods, Namespaces, NetworkPolicies, Nodes
    cni         guard        table podwire-guard        Nodes
    cni         host-ports   table podwire-host-ports   -
    cni         masquerade   table podwire-masquerade   Nodes
    cni         routes       routes of protocol 112     Nodes
    proxy       proxy        table podwire-proxy        Nodes, Services, EndpointSlices
    proxy       sockets      programs at sockets        the same
    cni, proxy  forwarding   two sysctls                -

In this order: what is to be denied is denied before anything leads to it.

Beside these the proxy reads ServiceCIDRs and the policy ClusterNetworkPolicies, which are optional:
no part waits for a server that has none (404).

A part whose kinds cannot be read (403) does not begin: what an earlier run of it left in the
kernel stays in force, where half of the objects would be taken for all of them. ServiceCIDRs alone
are dispensable: without them addresses of no Service are not answered, and that is all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from podwire_core.errors import ObjectError
from podwire_core.nft.desired import Desired
from podwire_core.nft.kernel import Nft
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.objects import (
    ClusterNetworkPolicy,
    EndpointSlice,
    Namespace,
    NetworkPolicy,
    Node,
    Pod,
    Service,
    ServiceCIDR,
)
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_node.absent import Absent
from podwire_node.programmer import Programmer
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component

if TYPE_CHECKING:
    from podwire_node.cni.admission.pod_ports import PodPorts
    from podwire_node.metrics import Metrics
    from podwire_node.routes.node_routes import NodeRoutes
    from podwire_node.serving import Serving

_KINDS: dict[Component, frozenset[Kind]] = {
    Component.CNI: frozenset({Node}),
    Component.PROXY: frozenset({Node, Service, EndpointSlice, ServiceCIDR}),
    Component.POLICY: frozenset({Pod, Namespace, NetworkPolicy, Node, ClusterNetworkPolicy}),
}


class Work(Protocol):
    """What a part does. Nothing of it raises, and nothing of it waits."""

    @property
    def name(self) -> str:
        """How people know it."""
        ...

    @property
    def settled(self) -> bool:
        """Whether its first sync is in the kernel; once true, always true."""
        ...

    @property
    def in_sync(self) -> bool:
        """Whether all it wants is in the kernel now, as far as it knows."""
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What went wrong and still is."""
        ...

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """Objects that are not, or not wholly, in force, and why."""
        ...

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """Descriptors that wake it, and what to call then; False is: that was nothing to us."""
        ...

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Take in changes that the snapshot holds already."""
        ...

    def sync(self, now: float) -> float | None:
        """Put in force what is not. Answers when to try again, None when all is well."""
        ...


@dataclass
class Part:
    """A work, what must have been read before it begins, and whether it has begun.

    metrics: what Prometheus is told, of the one part that has them. backend: of the same part,
    what answers at sockets, and why it is nftables where ebpf is asked for.
    """

    work: Work
    kinds: frozenset[Kind]
    begun: bool = False
    metrics: Metrics | None = None
    backend: Callable[[], tuple[str, str]] | None = None


def kinds_of(components: Iterable[Component]) -> frozenset[Kind]:
    """The kinds that an agent of these components reads."""
    return frozenset[Kind]().union(*(_KINDS[each] for each in components))


def make_parts(config: AgentConfig, nft: Nft, stack: ExitStack) -> Iterator[Part]:
    """The parts that the configuration asks for, in their order; the stack closes them.

    Each module is imported by who needs it: an agent of policies alone has no rtnetlink.
    """
    asked = config.components
    if Component.POLICY in asked:
        yield _part(_policy(config, nft), Component.POLICY, stack)
    if Component.CNI in asked:
        yield _part(_guard(config, nft), Component.CNI, stack)
        if config.cni_socket:  # hostPorts come with the calls
            ports = _host_ports(nft)
            stack.callback(ports.close)
            yield Part(ports, frozenset())
        yield _part(_masquerade(config, nft), Component.CNI, stack)
        from podwire_node.routes.node_routes import NodeRoutes  # noqa: PLC0415 - see above

        yield _part(NodeRoutes(config), Component.CNI, stack)
    if Component.PROXY in asked:
        proxy = _proxy(config, nft, stack)
        part = _part(proxy, Component.PROXY, stack)
        part.metrics, part.backend = proxy.metrics, proxy.backend
        yield part
        yield from _beside_proxy(config, proxy, stack)
    if Component.CNI in asked or Component.PROXY in asked:
        from podwire_node.routes.forwarding import Forwarding  # noqa: PLC0415 - see above

        forwarding = Forwarding()
        stack.callback(forwarding.close)
        yield Part(forwarding, frozenset())


def _part(work: Programmer | NodeRoutes, component: Component, stack: ExitStack) -> Part:
    stack.callback(work.close)
    return Part(work, _KINDS[component])


def _beside_proxy(config: AgentConfig, proxy: Serving, stack: ExitStack) -> Iterator[Part]:
    """What Services need of the kernel beside rules, and a kube-proxy's end."""
    if proxy.sockets is not None:
        yield Part(proxy.sockets, _KINDS[Component.PROXY])
    else:
        from podwire_node.sockets.earlier import EarlierSockets  # noqa: PLC0415 - see make_parts
        from podwire_node.sockets.place import place_of  # noqa: PLC0415 - same

        yield Part(
            EarlierSockets(place_of(config), lambda: proxy.settled and proxy.in_sync), frozenset()
        )
    from podwire_node.settings.proxy_options import proxy_options  # noqa: PLC0415 - see make_parts
    from podwire_node.sysctls import Sysctls  # noqa: PLC0415 - same

    localhost = proxy_options(config).localhost_nodeports
    sysctls = Sysctls(config, lambda: proxy.settled, localhost_nodeports=localhost)
    yield Part(sysctls, frozenset())
    if config.take_over:
        from podwire_node.kube_proxy.take_over import TakeOver  # noqa: PLC0415 - same

        take_over = TakeOver(lambda: proxy.settled and proxy.in_sync)
        stack.callback(take_over.close)
        yield Part(take_over, frozenset())


def _policy(config: AgentConfig, nft: Nft) -> Programmer:
    from podwire_policy.policies import Policies  # noqa: PLC0415 - see make_parts

    recheck = config.existing_connections == "recheck"
    policies = Policies(config.node, recheck=recheck)
    owner, monitor = Owner(nft, policies.tables), Monitor(policies.tables)
    if not recheck:
        return Programmer("policy", policies, owner, monitor)
    from podwire_node.recheck.rechecker import Rechecker  # noqa: PLC0415 - see make_parts
    from podwire_node.recheck.rechecking import Rechecking  # noqa: PLC0415 - same

    return Rechecking("policy", policies, owner, monitor, Rechecker(config.node))


def _guard(config: AgentConfig, nft: Nft) -> Programmer:
    from podwire_node.guard import TABLES, Guard  # noqa: PLC0415 - see make_parts

    guard = Guard(config.node, 0 if config.routing == "direct" else config.vxlan_port)
    return Programmer("guard", guard, Owner(nft, TABLES), Monitor(TABLES))


def _host_ports(nft: Nft) -> PodPorts:
    from podwire_node.cni.admission.pod_ports import PodPorts  # noqa: PLC0415 - see make_parts

    return PodPorts(nft)


def _masquerade(config: AgentConfig, nft: Nft) -> Programmer:
    """Turned off, what an earlier run put in force goes."""
    from podwire_node.masquerade import TABLES, Masquerade  # noqa: PLC0415 - see make_parts

    if config.masquerade:
        desired: Desired = Masquerade(config.node, config.masquerade_exclude)
    else:
        desired = Absent(TABLES)
    return Programmer("masquerade", desired, Owner(nft, TABLES), Monitor(TABLES))


def _proxy(config: AgentConfig, nft: Nft, stack: ExitStack) -> Serving:
    from podwire_node.serving import Serving  # noqa: PLC0415 - see make_parts

    return Serving(config, nft, stack)
