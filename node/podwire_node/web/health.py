"""Is the proxy well? As kube-proxy judges itself.

Unwell: a change has waited for the kernel for TIMEOUT_S. While it starts it is well, because what
an earlier run left in force still serves. A node that is about to go (deleted, or tainted by the
cluster autoscaler) is not eligible: load balancers should leave it, but nobody should restart us.

Sources: KEP-3836; kube-proxy 1.36, pkg/proxy/healthcheck/proxy_health.go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from podwire_node.web.moment import Moment, clock

#: Twice kube-proxy's default syncPeriod.
TIMEOUT_S = 60


class Health(NamedTuple):
    """The proxy's health at one moment. last_updated: the last sync, None before the first."""

    healthy: bool
    node_eligible: bool
    last_updated: Moment | None
    now: Moment


class HealthState:
    """Told by the agent's loop, asked by the web thread."""

    def __init__(self, now: Callable[[], Moment] | None = None) -> None:
        self._now = now or clock()
        self._lock = threading.Lock()
        self._oldest_queued: Moment | None = None
        self._last_updated: Moment | None = None
        self._node_eligible = True

    def queued(self) -> None:
        """There is a change that is not in the kernel yet."""
        with self._lock:
            self._oldest_queued = self._oldest_queued or self._now()

    def updated(self) -> None:
        """Everything that is wanted is in the kernel."""
        with self._lock:
            self._oldest_queued = None
            self._last_updated = self._now()

    def node(self, *, eligible: bool) -> None:
        """Whether load balancers may send here; true until told otherwise."""
        with self._lock:
            self._node_eligible = eligible

    @property
    def current(self) -> Health:
        """The health now."""
        with self._lock:
            now, oldest = self._now(), self._oldest_queued
            starting = self._last_updated is None
            late = oldest is not None and now.monotonic - oldest.monotonic >= TIMEOUT_S * 10**9
            return Health(starting or not late, self._node_eligible, self._last_updated, now)
