"""The node agent: one loop that waits for facts and keeps what is its parts' right.

    feed readable          objects changed       ─► snapshot ─► parts take it ─► kernel
    nftables announces     tables changed        ─► ours, by someone else? ─► repair
    rtnetlink announces    routes, forwarding    ─► compare, repair
    a CNI call             a pod comes or goes   ─► snapshot ─► parts ─► kernel ─► the call goes on
    a command asks         of the objects, of drops ─► answer, in a thread of its own
    a back-off ends        something was refused ─► try again
    45 minutes are over    a problem stands      ─► tell it again
    SIGTERM, SIGINT        leave; everything stays in force

Nothing is polled and nothing sleeps. What goes to the API server goes by threads
(reports/outbox.py).
"""

from __future__ import annotations

import logging
import selectors
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.interface import Feed
from podwire_core.nft.kernel import Nft
from podwire_core.snapshot import Change
from podwire_node.cni.pod_network import PodNetwork
from podwire_node.intake import Intake
from podwire_node.own_pods import OwnPods
from podwire_node.parts import make_parts
from podwire_node.programmer import Programmer
from podwire_node.questions import Questions
from podwire_node.reports.own_node import OwnNode
from podwire_node.reports.reporter import Reporter
from podwire_node.reports.status import Status, StatusFile, resident_mb, seconds_since_start
from podwire_node.reports.summary import Summary
from podwire_node.settings.agent_config import AgentConfig

log = logging.getLogger(__name__)


class Agent:
    """One node's agent. run() returns after SIGTERM or SIGINT.

    server: where events and conditions go; None where objects come from a folder.
    """

    def __init__(
        self, config: AgentConfig, feed: Feed, nft: Nft, server: ApiServer | None = None
    ) -> None:
        # First: to learn what the kernel holds takes seconds where that is much.
        self._status_file = StatusFile(Path(config.status)) if config.status else None
        self._feed = feed
        own = OwnPods(config.node)
        self._intake = Intake(feed, own)
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        self._leaving = False
        self._ready_seconds: float | None = None
        self._parts = list(make_parts(config, nft, self._stack))
        self._tables = [part.work for part in self._parts if isinstance(part.work, Programmer)]
        for each in self._tables:
            each.listen_with(self._tables)
        self._pods = PodNetwork(config, own, self._intake, self._parts, self._stack)
        self._reporter = Reporter(config.node, server, self._stack)
        self._questions = Questions(config, self._intake, self._parts, self._stack)
        self._summary = Summary(config, self._intake, self._parts, self._pods, self._questions)
        self._questions.status = self._status
        self._own_node = OwnNode(config)

    def run(self) -> None:
        """Work until told to leave. Raises FeedError if the source cannot be read at the start."""
        with self._stack:
            self._watch()
            self._take(self._intake.begin())
            while not self._leaving:
                self._wait(_earliest(self._sync(), self._report()))
            log.info("leaving; tables and routes stay in force")

    def _watch(self) -> None:
        """Everything that can wake the loop."""
        self._selector.register(self._feed, selectors.EVENT_READ, self._read_feed)
        for part in self._parts:
            for descriptor, notice in part.work.watched():
                self._selector.register(descriptor, selectors.EVENT_READ, notice)
        for descriptor, notice in self._pods.watched():
            self._selector.register(descriptor, selectors.EVENT_READ, notice)
        if self._pods.calls is not None:
            self._selector.register(self._pods.calls, selectors.EVENT_READ, self._hear_calls)
        for descriptor, hear in (*self._reporter.watched(), *self._questions.watched()):
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
        """Wait for a fact. A notice that answers False was none: pods' links make many of these."""
        while True:
            timeout = None if until is None else max(0.0, until - time.monotonic())
            heard = [key.data() for key, _ in self._selector.select(timeout)]
            if not heard or any(each is not False for each in heard):
                return

    # ---------------------------------------------------------------------- objects in

    def _read_feed(self) -> None:
        self._take(self._intake.read())

    def _hear_calls(self) -> None:
        self._take(self._pods.hear())

    def _take(self, changes: Sequence[Change]) -> None:
        """Give the parts what changed; one that may begin gets everything, all at once.

        A Service before its slices would lose its slots, which is why none begins earlier.
        """
        snapshot = self._intake.snapshot
        everything: Sequence[Change] | None = None
        for part in self._parts:
            if part.begun:
                if changes:
                    part.work.take(snapshot, changes)
            elif self._intake.synced and not part.kinds & self._intake.unread.keys():
                everything = snapshot.changes() if everything is None else everything
                part.work.take(snapshot, everything)
                part.begun = True

    # --------------------------------------------------------------------- effects out

    def _sync(self) -> float | None:
        """Put in force what is not; answers when something has to be tried again."""
        now = time.monotonic()
        if self._intake.due(now):
            self._read_feed()
        retries = [part.work.sync(now) for part in self._parts if part.begun]
        # Who commits hears the kernel out for all: what someone changed of an earlier part's
        # tables was read then, and nothing else will wake us for it.
        retries += [each.due() for each in self._tables if each.settled and not each.in_sync]
        self._pods.settle()
        retries.append(self._intake.until)
        if self._summary.first_sync_done:
            retries.append(self._pods.sync(now, self._summary.mine))
        return _earliest(*retries)

    # ------------------------------------------------------------------- what it says

    def _report(self) -> float | None:
        """Say what is new: in the status file, in events, in our Node's condition.

        Answers when there is something to say again.
        """
        synced = self._summary.first_sync_done
        if self._ready_seconds is None and synced:
            self._ready_seconds = seconds_since_start()
            log.info("ready after %.2f s, %.1f MB resident", self._ready_seconds, resident_mb())
        if self._summary.nodes_are_read:
            self._own_node.look(self._intake.snapshot, self._summary.mine)
        counted = [part.metrics for part in self._parts if part.metrics]
        if self._status_file is not None or counted:
            status = self._status()
            if self._status_file is not None:
                self._status_file.write(status)
            for metrics in counted:
                metrics.tables(status.transactions, status.repairs, status.failures)
                metrics.problems(len(status.problems))
        up = synced and self._pods.up
        return self._reporter.tell(self._summary.wrong, self._summary.mine, network_is_up=up)

    def _status(self) -> Status:
        return self._summary.status(self._ready_seconds, self._reporter.letters)


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)
