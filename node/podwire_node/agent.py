"""The node agent: one loop that waits for facts and keeps tables and routes right.

    feed readable          objects changed      ─► snapshot ─► what is dirty ─► transaction
    nftables announces     tables changed       ─► ours, by someone else? ─► repair
    rtnetlink announces    routes changed       ─► compare, repair
    a back-off ends        something was refused ─► try again
    SIGTERM, SIGINT        leave; everything stays in force

Nothing is polled and nothing sleeps.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.interface import Feed
from podwire_core.files import write_json
from podwire_core.nft.kernel import Nft
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.objects import Node
from podwire_core.snapshot import Change, Snapshot
from podwire_node.backoff import Backoff
from podwire_node.programmer import Programmer
from podwire_node.route_keeper import RouteKeeper
from podwire_node.routing import RouteMonitor, Routing, allow_forwarding
from podwire_node.status import Status, resident_mb, seconds_since_start
from podwire_policy.policies import Policies
from podwire_proxy.services import TABLES as SERVICE_TABLES
from podwire_proxy.services import Services

log = logging.getLogger(__name__)

MAX_PROBLEMS = 100


class Agent:
    """One node's agent. run() returns after SIGTERM or SIGINT."""

    def __init__(self, node: str, feed: Feed, nft: Nft, status_file: Path | None = None) -> None:
        self._node = node
        self._feed = feed
        self._status_file = status_file
        self._snapshot = Snapshot()
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._leaving = False
        self._unusable: Sequence[ObjectError] = ()
        self._synced = False  # nothing is sent before everything was read once
        self._ready_seconds: float | None = None
        self._feed_backoff = Backoff()
        self._feed_problem = ""
        self._written: Status | None = None
        self._status_lost = False
        self._programmers = self._make_programmers(nft)
        routing = Routing()
        self._stack.callback(routing.close)
        self._route_monitor = RouteMonitor()
        self._stack.callback(self._route_monitor.close)
        self._routes = RouteKeeper(node, routing)

    def _make_programmers(self, nft: Nft) -> list[Programmer]:
        """Adopt what the kernel holds, so that backends keep their slots over a restart."""
        services = Owner(nft, SERVICE_TABLES)
        services.adopt()
        policies = Policies(self._node)
        made = [  # policies first: what is to be denied is denied before Services lead to it
            Programmer("policy", policies, Owner(nft, policies.tables), Monitor(policies.tables)),
            Programmer(
                "proxy",
                Services(self._node, dict(services.in_force)),
                services,
                Monitor(services.tables),
            ),
        ]
        for programmer in made:
            self._stack.callback(programmer.close)
        return made

    def run(self) -> None:
        """Work until told to leave. Raises FeedError if the source cannot be read at the start."""
        with self._stack:
            self._watch()
            for complaint in allow_forwarding():
                log.error("forwarding: %s", complaint)
            self._read_feed(first=True)
            while not self._leaving:
                retry = self._sync() if self._synced else None
                self._report()
                self._wait(retry)
            log.info("leaving; tables and routes stay in force")

    def _watch(self) -> None:
        """Everything that can wake the loop."""
        self._selector.register(self._feed, selectors.EVENT_READ, self._read_feed)
        for programmer in self._programmers:
            self._selector.register(programmer, selectors.EVENT_READ, programmer.notice_drift)
        self._selector.register(self._route_monitor, selectors.EVENT_READ, self._notice_routes)
        ours, kernels = socket.socketpair()
        for end in (ours, kernels):
            end.settimeout(0)
            self._stack.callback(end.close)
        previous = signal.set_wakeup_fd(kernels.fileno())
        self._stack.callback(signal.set_wakeup_fd, previous)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._stack.callback(signal.signal, number, signal.signal(number, self._leave))
        self._selector.register(ours, selectors.EVENT_READ, lambda: ours.recv(64))

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self._leaving = True

    def _wait(self, until: float | None) -> None:
        timeout = None if until is None else max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(timeout):
            key.data()

    def _read_feed(self, *, first: bool = False) -> None:
        try:
            batch = self._feed.read()
        except FeedError as error:
            if first:
                raise
            self._feed_problem = str(error)
            self._feed_backoff.failed(time.monotonic())
            log.error("%s; what is known stays in force", error)  # noqa: TRY400 - a sentence, not a stack
            return
        self._feed_problem = ""
        self._feed_backoff.succeeded()
        self._unusable = batch.standing
        for problem in batch.errors:
            log.warning("%s", problem)
        changes = [change for change in batch.changes if self._snapshot.apply(change)]
        if self._synced:
            self._take(changes)
        elif batch.synced:
            self._synced = True  # all at once: a Service before its slices would lose its slots
            self._take(self._snapshot.changes())

    def _take(self, changes: Sequence[Change]) -> None:
        for programmer in self._programmers:
            programmer.take(self._snapshot, changes)
        if any(change.kind is Node for change in changes):
            self._routes.take(self._snapshot.all(Node))

    def _notice_routes(self) -> None:
        if self._route_monitor.changed():
            self._routes.compare()

    def _sync(self) -> float | None:
        """Put in force what is not; answers when something has to be tried again."""
        now = time.monotonic()
        if self._feed_problem and self._feed_backoff.due(now):
            self._read_feed()
        retries = [programmer.sync(now) for programmer in self._programmers]
        retries.append(self._routes.sync(now))
        retries.append(self._feed_backoff.until if self._feed_problem else None)
        return min((retry for retry in retries if retry is not None), default=None)

    def _report(self) -> None:
        """Write the status when it says something new."""
        settled = self._synced and all(programmer.in_sync for programmer in self._programmers)
        if self._ready_seconds is None and settled:
            self._ready_seconds = seconds_since_start()
            log.info("ready after %.2f s, %.1f MB resident", self._ready_seconds, resident_mb())
        status = self._status()
        if self._status_file is not None and status != self._written:
            self._write(self._status_file, status)

    def _write(self, path: Path, status: Status) -> None:
        """A status that cannot be written must not end the one who repairs the rules."""
        try:
            write_json(path, status)
        except OSError as error:
            if not self._status_lost:
                log.error("%s: %s; going on without", path, error.strerror)  # noqa: TRY400 - a sentence
            self._status_lost = True
            return
        self._written, self._status_lost = status, False

    def _status(self) -> Status:
        problems = [str(error) for error in self._unusable]
        problems += [str(error) for each in self._programmers for error in each.desired.problems]
        problems += [each.problem for each in self._programmers if each.problem]
        problems += self._routes.problems
        if self._feed_problem:
            problems.append(self._feed_problem)
        return Status(
            node=self._node,
            pid=os.getpid(),
            ready=self._ready_seconds is not None,
            ready_seconds=self._ready_seconds,
            rss_mb=resident_mb(),
            objects=len(self._snapshot),
            routes=self._routes.count,
            transactions={each.name: each.transactions for each in self._programmers},
            repairs={each.name: each.repairs for each in self._programmers},
            failures={each.name: each.failures for each in self._programmers},
            problems=tuple(problems[:MAX_PROBLEMS]),
        )
