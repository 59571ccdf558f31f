"""Keeps our routes as the Nodes say: compare with the kernel, send what differs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from podwire_core.delta import delta
from podwire_core.objects import Node
from podwire_node.backoff import Backoff
from podwire_node.routes import Route, routes_to_pods
from podwire_node.routing import RouteError, Routing

log = logging.getLogger(__name__)


class RouteKeeper:
    """Routes of one node. A route the kernel refuses is tried again; the rest goes on."""

    def __init__(self, node: str, routing: Routing) -> None:
        self.problems: list[str] = []
        self._node = node
        self._routing = routing
        self._wanted: dict[str, Route] = {}
        self._dirty = True
        self._backoff = Backoff()

    @property
    def count(self) -> int:
        """Routes that should be in force."""
        return len(self._wanted)

    def take(self, nodes: Sequence[Node]) -> None:
        """The cluster's nodes as they are now."""
        self._wanted = routes_to_pods(nodes, self._node)
        self._dirty = True
        self._backoff.succeeded()

    def compare(self) -> None:
        """Something changed in the routing table: look at the next sync()."""
        self._dirty = True

    def sync(self, now: float) -> float | None:
        """Make the kernel's routes ours. Answers when to try again, None when all is well."""
        if not self._dirty:
            return None
        if not self._backoff.due(now):
            return self._backoff.until
        have = self._routing.read()
        difference = delta(have, self._wanted)
        self.problems = []
        for destination in sorted(difference.removed):
            self._try(self._routing.remove, have[destination])
        for route in (*difference.added.values(), *difference.changed.values()):
            self._try(self._routing.put, route)
        if self.problems:
            return self._backoff.failed(now)
        self._dirty = False
        self._backoff.succeeded()
        return None

    def _try(self, verb: Callable[[Route], None], route: Route) -> None:
        try:
            verb(route)
        except RouteError as error:
            log.warning("%s", error)
            self.problems.append(str(error))
        else:
            log.info("routes: %s %s", verb.__name__, route)
