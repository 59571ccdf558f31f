"""The node agent: one loop that waits for facts and keeps what is its parts' right.

    feed readable          objects changed       ─► snapshot ─► parts take it ─► kernel
    nftables announces     tables changed        ─► ours, by someone else? ─► repair
    rtnetlink announces    routes, forwarding    ─► compare, repair
    a back-off ends        something was refused ─► try again
    SIGTERM, SIGINT        leave; everything stays in force

Nothing is polled and nothing sleeps. What goes to the API server goes by threads (outbox.py).
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from podwire_core.backoff import Backoff
from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.interface import Feed
from podwire_core.nft.kernel import Nft
from podwire_core.objects import Node, ObjectName
from podwire_core.snapshot import Change, Kind, Snapshot
from podwire_node.cni.pod_network import PodNetwork
from podwire_node.parts import make_parts
from podwire_node.programmer import Programmer
from podwire_node.reports.logs import one_line
from podwire_node.reports.reporter import Reporter
from podwire_node.reports.status import Status, StatusFile, resident_mb, seconds_since_start
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component

log = logging.getLogger(__name__)

MAX_PROBLEMS = 100


class Agent:
    """One node's agent. run() returns after SIGTERM or SIGINT.

    server: where events and conditions go; None where objects come from a folder.
    """

    def __init__(
        self, config: AgentConfig, feed: Feed, nft: Nft, server: ApiServer | None = None
    ) -> None:
        # First: to learn what the kernel holds takes seconds where that is much.
        self._status_file = StatusFile(Path(config.status)) if config.status else None
        self._config = config
        self._feed = feed
        self._snapshot = Snapshot()
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._leaving = False
        self._synced = False  # nothing is sent before everything was read once
        self._unread: Mapping[Kind, str] = {}
        self._reading: Sequence[str] = ()
        self._unusable: Sequence[ObjectError] = ()
        self._ready_seconds: float | None = None
        self._feed_backoff = Backoff()
        self._feed_problem = ""
        self._parts = list(make_parts(config, nft, self._stack))
        self._tables = [part.work for part in self._parts if isinstance(part.work, Programmer)]
        for each in self._tables:
            each.listen_with(self._tables)
        self._pods = PodNetwork(config, self._parts, self._stack)
        self._reporter = Reporter(config.node, server, self._stack)

    def run(self) -> None:
        """Work until told to leave. Raises FeedError if the source cannot be read at the start."""
        with self._stack:
            self._watch()
            self._read_feed(first=True)
            while not self._leaving:
                retry = self._sync()
                self._report()
                self._wait(retry)
            log.info("leaving; tables and routes stay in force")

    def _watch(self) -> None:
        """Everything that can wake the loop."""
        self._selector.register(self._feed, selectors.EVENT_READ, self._read_feed)
        for part in self._parts:
            for descriptor, notice in part.work.watched():
                self._selector.register(descriptor, selectors.EVENT_READ, notice)
        for descriptor, hear in self._reporter.watched():
            self._selector.register(descriptor, selectors.EVENT_READ, hear)
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

    # ---------------------------------------------------------------------- objects in

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
            log.warning("%s", problem, extra={"object": problem.object})
        self._synced = self._synced or batch.synced
        self._unread, self._reading = batch.unread, batch.waiting
        self._take([change for change in batch.changes if self._snapshot.apply(change)])

    def _take(self, changes: Sequence[Change]) -> None:
        """Give the parts what changed; one that may begin gets everything, all at once.

        A Service before its slices would lose its slots, which is why none begins earlier.
        """
        everything: Sequence[Change] | None = None
        for part in self._parts:
            if part.begun:
                if changes:
                    part.work.take(self._snapshot, changes)
            elif self._synced and not part.kinds & self._unread.keys():
                everything = self._snapshot.changes() if everything is None else everything
                part.work.take(self._snapshot, everything)
                part.begun = True

    # --------------------------------------------------------------------- effects out

    def _sync(self) -> float | None:
        """Put in force what is not; answers when something has to be tried again."""
        now = time.monotonic()
        if self._feed_problem and self._feed_backoff.due(now):
            self._read_feed()
        retries = [part.work.sync(now) for part in self._parts if part.begun]
        retries.append(self._feed_backoff.until if self._feed_problem else None)
        if self._first_sync_done:
            retries.append(self._pods.sync(now, self._mine))
        return min((retry for retry in retries if retry is not None), default=None)

    @property
    def _mine(self) -> Node | None:
        """Our own Node."""
        return self._snapshot.get(Node, ObjectName("", self._config.node))

    @property
    def _first_sync_done(self) -> bool:
        settled = all(part.begun and part.work.settled for part in self._parts)
        return self._synced and not self._unread and settled

    @property
    def _source_is_away(self) -> bool:
        """Whether the source cannot be read now: an error of no file and no object is its own."""
        errors = (error for error in self._unusable if not (error.source or error.object))
        return bool(self._feed_problem) or any(errors)

    # ------------------------------------------------------------------- what it says

    def _report(self) -> None:
        """Say what is new: in the status file, in events, in our Node's condition."""
        if self._ready_seconds is None and self._first_sync_done:
            self._ready_seconds = seconds_since_start()
            log.info("ready after %.2f s, %.1f MB resident", self._ready_seconds, resident_mb())
        mine = self._mine
        wrong = [*self._unusable, *(row for part in self._parts for row in part.work.unusable)]
        self._reporter.tell(wrong, mine, network_is_up=self._first_sync_done and self._pods.up)
        if self._status_file is not None:
            self._status_file.write(self._status(mine, wrong))

    def _waiting(self, mine: Node | None) -> list[str]:
        """What is waited for, in the order in which it is needed."""
        if not self._synced:
            return list(self._reading)
        unread = sorted((kind.__name__, why) for kind, why in self._unread.items())
        found = [f"{kind}: {why}" for kind, why in unread]
        found += [
            f"{part.work.name}: {'its first sync' if part.begun else 'objects it may not read'}"
            for part in self._parts
            if not (part.begun and part.work.settled)
        ]
        return found + self._pods.waiting(mine)

    def _problems(self, mine: Node | None, wrong: Sequence[ObjectError]) -> list[str]:
        problems = [str(error) for error in wrong]
        problems += [problem for part in self._parts for problem in part.work.problems]
        problems += self._pods.problems
        needs_node = {Component.CNI, Component.PROXY} & set(self._config.components)
        if self._synced and mine is None and needs_node and Node not in self._unread:
            problems.append(f"Node {self._config.node} is not there: is that our name?")
        if self._feed_problem:
            problems.append(self._feed_problem)
        return problems

    def _status(self, mine: Node | None, wrong: Sequence[ObjectError]) -> Status:
        in_sync = self._first_sync_done and all(part.work.in_sync for part in self._parts)
        return Status(
            node=self._config.node,
            pid=os.getpid(),
            ready=self._ready_seconds is not None,
            ready_seconds=self._ready_seconds,
            rss_mb=resident_mb(),
            objects=len(self._snapshot),
            routes=self._pods.routes,
            transactions={each.name: each.transactions for each in self._tables},
            repairs={each.name: each.repairs for each in self._tables},
            failures={each.name: each.failures for each in self._tables},
            in_sync=in_sync and not self._source_is_away,
            waiting=tuple(self._waiting(mine)),
            components=tuple(self._config.components),
            pod_cidrs=mine.pod_cidrs if mine else (),
            mtu=self._pods.mtu,
            letters=self._reporter.letters,
            problems=tuple(map(one_line, self._problems(mine, wrong)[:MAX_PROBLEMS])),
        )
