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
        self._node = node
        self._routing = routing
        self._wanted: dict[str, Route] = {}
        self._unfit: list[str] = []
        self._refused: list[str] = []
        self._dirty = True
        self._backoff = Backoff()

    @property
    def count(self) -> int:
        """Routes that should be in force."""
        return len(self._wanted)

    @property
    def problems(self) -> list[str]:
        """Routes that cannot be, and why."""
        return [*self._unfit, *self._refused]

    def take(self, nodes: Sequence[Node]) -> None:
        """The cluster's nodes as they are now."""
        self._wanted, unfit = routes_to_pods(nodes, self._node)
        before, self._unfit = self._unfit, [str(error) for error in unfit]
        for problem in self._unfit:
            if problem not in before:
                log.warning("%s", problem)
        self.compare()

    def compare(self) -> None:
        """Something changed: the next sync() compares and tries everything, refused or not."""
        self._dirty = True

    def sync(self, now: float) -> float | None:
        """Make the kernel's routes ours. Answers when to try again, None when all is well.

        What was refused is tried again with back-off, and at once when anything changes: a
        refusal changes nothing, so that cannot go round in circles.
        """
        if not self._dirty and (not self._refused or not self._backoff.due(now)):
            return self._backoff.until if self._refused else None
        self._dirty = False
        have = self._routing.read()
        difference = delta(have, self._wanted)
        before, self._refused = self._refused, []
        for destination in sorted({*difference.removed, *difference.changed}):
            self._try(self._routing.remove, have[destination], before)
        for route in (*difference.added.values(), *difference.changed.values()):
            self._try(self._routing.add, route, before)
        if self._refused:
            return self._backoff.failed(now)
        self._backoff.succeeded()
        return None

    def _try(self, verb: Callable[[Route], None], route: Route, told: Sequence[str]) -> None:
        try:
            verb(route)
        except RouteError as error:
            if str(error) not in told:
                log.warning("%s", error)
            self._refused.append(str(error))
        else:
            log.info("routes: %s %s", verb.__name__, route)
