"""The proxy's part: Services in the kernel, and what follows when they are.

sync in the kernel ─┬─► remembered clients whose endpoint went: forgotten (affinity maps)
                    ├─► UDP conversations with it: ended (stale/, a thread)
                    ├─► health check ports: what they say (web/, a thread)
                    └─► metrics
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from podwire_core.errors import ConntrackError, ObjectError
from podwire_core.family import FAMILIES, Family
from podwire_core.nft.kernel import Nft
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, Node, ObjectName, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_node.affinity import ForgottenClients, Question
from podwire_node.metrics import Metrics
from podwire_node.programmer import Programmer
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.proxy_options import proxy_options
from podwire_node.settings.values import address_and_port
from podwire_node.stale import Run, StaleConnections
from podwire_node.sysctls import localhost_is_routed
from podwire_node.web.health import HealthState
from podwire_node.web.pages import health_pages, metrics_pages
from podwire_node.web.server import Fixed, Web
from podwire_proxy.services import TABLES, Services
from podwire_proxy.sockets import Reach, Sockets

if TYPE_CHECKING:
    from podwire_node.sockets.socket_service import SocketService

log = logging.getLogger(__name__)

#: Changes of slices whose time is measured, of each family, while the kernel takes none.
_MAX_TRIGGERED = 10_000


class Serving(Programmer):
    """Implements podwire_node.parts.Work. The stack closes what it opens."""

    def __init__(self, config: AgentConfig, nft: Nft, stack: ExitStack) -> None:
        # First: to learn what the kernel holds takes a second where that is much. Backends keep
        # their slots over a restart.
        self._nftables = Owner(nft, TABLES)
        self._nftables.adopt()
        options = replace(proxy_options(config), localhost_routed=localhost_is_routed())
        sockets = _sockets(config)
        self._services = Services(config.node, self._nftables.in_force, options, sockets)
        super().__init__("proxy", self._services, self._nftables, Monitor(TABLES))
        self.metrics = Metrics()
        self.sockets = _socket_service(config, self._services, sockets, self.metrics, stack)
        self._node = ObjectName("", config.node)
        self._health = HealthState()
        self._web = stack.enter_context(
            Web(
                self._health,
                list(_sites(config, self._health, self.metrics, lambda: self.backend()[0])),
            )
        )
        self._stale = _stale_connections(self.metrics, stack)
        self._clients = ForgottenClients(self._nftables)
        stack.callback(self._clients.close)
        self._submitted = -1
        self._triggered: dict[Family, deque[str]] = {
            family: deque(maxlen=_MAX_TRIGGERED) for family in FAMILIES
        }
        self._failures_told = 0
        self._taken = False

    def backend(self) -> tuple[str, str]:
        """What answers at sockets now, and why it is nftables where ebpf is asked for.

        Any thread may ask.
        """
        return (self.sockets.backend, self.sockets.why) if self.sockets else ("nftables", "")

    @property
    def problems(self) -> Sequence[str]:
        """See Work."""
        return [*super().problems, *self._web.problems]

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """See Work."""
        return [*super().unusable, *self._web.unusable]

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """See Work."""
        yield from super().watched()
        yield from self._web.watched()
        yield from self._clients.watched()

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """See Work."""
        super().take(snapshot, changes)
        self._taken = True  # also what changes no rule may change what health checks say
        self._count(changes)
        if any(change.kind is Node for change in changes):
            mine = snapshot.get(Node, self._node)
            self._health.node(eligible=mine is None or not mine.leaving)

    def sync(self, now: float) -> float | None:
        """See Work."""
        again = self._sync(now) if self._taken or not self.in_sync else None
        more = self.in_sync and self._clients.forget()
        return now if more else again

    def _sync(self, now: float) -> float | None:
        self._health.queued()
        full = self.compares_everything
        began = time.monotonic()
        again = super().sync(now)
        self._tell(time.monotonic() - began, full=full)
        return again

    def _tell(self, seconds: float, *, full: bool) -> None:
        """A sync is over, with or without success."""
        if self.failures > self._failures_told:
            self._failures_told = self.failures
            self.metrics.sync_failed()
        if self.in_sync:
            self.metrics.synced(seconds, full=full)
            self._follow()

    def _count(self, changes: Sequence[Change]) -> None:
        services = sum(change.kind is Service for change in changes)
        slices = [change.new for change in changes if change.kind is EndpointSlice]
        for each in slices:
            if isinstance(each, EndpointSlice) and each.triggered and each.address_type != "FQDN":
                self._triggered[Family(each.address_type)].append(each.triggered)
        if services or slices:
            self.metrics.service_changes(services)
            self.metrics.endpoint_changes(len(slices))
            self.metrics.queued()

    def _follow(self) -> None:
        """What may be done now that all that is wanted is in the kernel."""
        self._taken = False
        self._health.updated()
        self._look_for_clients()
        if self._stale and self._submitted != self._services.udp_changes:
            self._submitted = self._services.udp_changes
            served = dict(self._services.udp_serving)
            self._stale.submit(served, self._services.nodeport_networks)
        self._web.set_health_checks(self._services.health_checks)
        for family, triggered in self._triggered.items():
            self.metrics.programmed(family, triggered)
            triggered.clear()
        for family, lacking in self._services.no_local.items():
            self.metrics.no_local(family, **lacking._asdict())
        self.metrics.elements(self.name, len(self._nftables.in_force))

    def _look_for_clients(self) -> None:
        """Those that were sent to what is no endpoint any more are to be new again."""
        asked = list(self._services.forgetful)
        self._services.forgetful.clear()
        self._clients.look(Question(each, self._services.members(*each)) for each in asked)


def _sites(
    config: AgentConfig, health: HealthState, metrics: Metrics, mode: Callable[[], str]
) -> Iterable[Fixed]:
    """What is served beside Services' health checks."""
    if config.healthz_bind_address:
        place = address_and_port(config.healthz_bind_address)
        yield Fixed("healthz", *place, health_pages(health, metrics))
    if config.metrics_bind_address:
        place = address_and_port(config.metrics_bind_address)
        shown = msgspec.to_builtins(config)
        yield Fixed("metrics", *place, metrics_pages(metrics, mode, shown))


def _stale_connections(metrics: Metrics, stack: ExitStack) -> StaleConnections | None:
    """None where the kernel cannot list connections: what is stale stays until it times out."""

    def ran(run: Run) -> None:
        metrics.conntrack(run.family, run.seconds, run.deleted)

    try:
        made = StaleConnections(ran)
    except ConntrackError as error:
        log.warning("stale UDP connections stay: %s", error)
        return None
    stack.callback(made.close)
    return made


def _sockets(config: AgentConfig) -> Sockets | None:
    """What says the same to programs at sockets, where some are asked for."""
    if config.proxy_mode == "nftables":
        return None
    from podwire_ebpf.external import Flag  # noqa: PLC0415 - as below

    reach = Reach(
        masquerade_all=config.masquerade_all,
        external=config.ebpf_external,
        masquerade=Flag.MASQUERADE,
        by_source=Flag.BY_SOURCE,
    )
    return Sockets(reach)


def _socket_service(
    config: AgentConfig,
    services: Services,
    sockets: Sockets | None,
    metrics: Metrics,
    stack: ExitStack,
) -> SocketService | None:
    """The part that owns these programs; None in mode nftables."""
    if sockets is None:
        metrics.backend("nftables", "")
        return None
    from podwire_node.sockets.socket_service import SocketService  # noqa: PLC0415 - who needs it

    made = SocketService(config, services, sockets, metrics)
    stack.callback(made.close)
    return made
