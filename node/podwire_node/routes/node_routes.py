"""Routes to the other nodes' pods as a part of the agent: the keeper, and the kernel's word."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from podwire_core.backoff import Backoff
from podwire_core.errors import ObjectError
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.pace import Pace
from podwire_node.routes.keeper import RouteKeeper
from podwire_node.routes.overlay import OverlaySettings
from podwire_node.routes.routing import RouteError, RouteMonitor, Routing
from podwire_node.settings.agent_config import AgentConfig

log = logging.getLogger(__name__)


class NodeRoutes:
    """Implements podwire_node.parts.Work."""

    name = "routes"

    def __init__(self, config: AgentConfig) -> None:
        self._routing = Routing()
        self._monitor = RouteMonitor()
        overlay = OverlaySettings(config.routing, config.vxlan_port, config.vxlan_id, config.mtu)
        self._keeper = RouteKeeper(config.node, self._routing, overlay)
        self._backoff = Backoff()
        self._pace = Pace()
        self._heard = False  # of a change that was not looked at yet
        self._unread = ""
        self.settled = False
        self.in_sync = False

    @property
    def count(self) -> int:
        """Routes that should be in force."""
        return self._keeper.count

    @property
    def mtu(self) -> int:
        """What pods' links should have now; 0: whatever the plugin finds."""
        return self._keeper.mtu

    @property
    def problems(self) -> Sequence[str]:
        """Routes that the kernel refuses, and why."""
        unfit = {str(error) for error in self._keeper.unfit}
        refused = [problem for problem in self._keeper.problems if problem not in unfit]
        return [*refused, *((self._unread,) if self._unread else ())]

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """Nodes whose podCIDRs can have no route."""
        return self._keeper.unfit

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """See parts.Work: a route or a link changed."""
        yield self._monitor.fileno(), self._notice

    def close(self) -> None:
        """Let go of the kernel; routes stay."""
        self._monitor.close()
        self._routing.close()

    def take(self, snapshot: Snapshot, changes: Sequence[Change]) -> None:
        """Nodes that came, changed or went."""
        if any(change.kind is Node for change in changes):
            self._keeper.take(snapshot.all(Node))

    def sync(self, now: float) -> float | None:
        """See parts.Work. Routes that cannot even be read are read again, backing off."""
        if self._unread and not self._backoff.due(now):
            return self._backoff.until
        if self._heard and now >= self._pace.until:
            self._heard = False
            self._keeper.compare()
        began = time.monotonic()
        try:
            retry = self._keeper.sync(now)
        except (RouteError, OSError) as error:
            return self._failed(f"routes: {error}", now)
        self._pace.looked(began, time.monotonic())
        if self._heard:
            retry = min(self._pace.until, retry or self._pace.until)
        self._unread = ""
        self._backoff.succeeded()
        self.in_sync = retry is None
        # A route that is refused holds up nothing; without a look at the kernel there is no MTU.
        self.settled = self.settled or self.in_sync or self._keeper.mtu > 0
        return retry

    def _failed(self, problem: str, now: float) -> float:
        if problem != self._unread:
            log.error("%s", problem, extra={"component": self.name})
        self._unread, self.in_sync = problem, False
        self._keeper.compare()
        return self._backoff.failed(now)

    def _notice(self) -> bool:
        """Whether it is anything to us."""
        changed = self._monitor.changed()
        self._heard |= changed
        return changed
