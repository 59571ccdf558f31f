"""A cluster's API server as a feed: a reflector and a thread for each kind.

Threads only fetch and decode; what it amounts to is worked out by the reader. The queue
between them is bounded: a reader that is slow slows the server down, not memory up.

Why a refused kind is not waited for, and when (the reflector says after how many answers):

    cannot be read      what that does                     so
    NetworkPolicies     none is known, none can be put     Services go on; policies stay as they
                        in force, nor taken out of it      are in the kernel, and the status says so
    Pods, Namespaces    no subject and no peer is known    the same: half of it would be wrong
    Services or slices  no frontend, or none with an       policies and routes go on; Services
                        endpoint                           stay as they are in the kernel
    Nodes               no route, no NodePort address      the same for routes and Services
    ClusterNetwork-     what administrators deny is not    the same as for NetworkPolicies
    Policies            known
    ServiceCIDRs        addresses of no Service are not    Services go on: the kind is dispensable
                        answered by a drop

The feed says which kinds these are (Batch.unread, where dispensable ones never are); the agent
begins no part that needs one. Optional kinds may be absent (404), which is no error: a server has
ServiceCIDRs since 1.33, and ClusterNetworkPolicies once their definition was applied.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Self

from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.interface import Batch
from podwire_core.feed.reflector import (
    Absent,
    Event,
    Listed,
    Message,
    Reflector,
    Resource,
    Trouble,
)
from podwire_core.objects import (
    ClusterNetworkPolicy,
    EndpointSlice,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    Service,
    ServiceCIDR,
)
from podwire_core.snapshot import Change, Kind

MAX_QUEUED = 10_000
CLOSE_S = 2.0
#: An administrator may bring ClusterNetworkPolicy's definition on any day, and policies at once.
FOUND_WITHIN_S = 20.0

#: Left out on the server's side, as kube-proxy leaves them out.
_OURS = "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name"

RESOURCES = (
    Resource(Node, "/api/v1/nodes"),
    Resource(Namespace, "/api/v1/namespaces"),
    Resource(Pod, "/api/v1/pods"),
    Resource(Service, "/api/v1/services", _OURS),
    Resource(EndpointSlice, "/apis/discovery.k8s.io/v1/endpointslices", _OURS),
    Resource(NetworkPolicy, "/apis/networking.k8s.io/v1/networkpolicies"),
    Resource(
        ServiceCIDR, "/apis/networking.k8s.io/v1/servicecidrs", optional=True, dispensable=True
    ),
    Resource(
        ClusterNetworkPolicy,
        "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies",
        optional=True,
        absent_s=FOUND_WITHIN_S,
    ),
)


class ClusterFeed:
    """See feed.interface. Close it, or use it as a context manager."""

    def __init__(self, server: ApiServer, resources: Sequence[Resource] = RESOURCES) -> None:
        self._messages: queue.Queue[Message] = queue.Queue(MAX_QUEUED)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._known: dict[Kind, set[ObjectName]] = {}
        self._unlisted = {resource.kind: resource.path for resource in resources}
        self._optional = {resource.kind for resource in resources if resource.optional}
        self._dispensable = {resource.kind for resource in resources if resource.dispensable}
        self._refused: dict[Kind, str] = {}
        self._reported: dict[tuple[Kind, ObjectName], ObjectError] = {}
        self._troubles: dict[Kind, ObjectError] = {}
        self._reflectors = [Reflector(server, resource, self._emit) for resource in resources]
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._users = 1 + len(self._reflectors)  # of the bell: the threads and we
        self._threads = [
            threading.Thread(
                target=self._work, args=[each], name=f"reflector-{number}", daemon=True
            )
            for number, each in enumerate(self._reflectors)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """An eventfd: readable when a reflector has said something."""
        return self._bell

    def close(self) -> None:
        """Stop watching. Threads end with it, whatever they wait for."""
        if self._closed.is_set():
            return
        self._closed.set()
        for reflector in self._reflectors:
            reflector.stop()
        deadline = time.monotonic() + CLOSE_S
        for thread in self._threads:
            while thread.is_alive() and time.monotonic() < deadline:
                thread.join(0.05)
        self._leave()

    def _work(self, reflector: Reflector) -> None:
        """A thread's life."""
        try:
            reflector.run()
        finally:
            self._leave()

    def _leave(self) -> None:
        """The last one closes the bell: a thread in a name server's silence may stay a while."""
        with self._lock:
            self._users -= 1
            if not self._users:
                os.close(self._bell)

    def read(self) -> Batch:
        """What was said since the last read (see feed.interface)."""
        self._silence_bell()
        changes: list[Change] = []
        errors: list[ObjectError] = []
        for message in self._drain():
            match message:
                case Listed():
                    changes += self._take_list(message, errors)
                case Event():
                    changes += self._take_event(message, errors)
                case Trouble():
                    self._take_trouble(message, errors)
                case Absent():
                    changes += self._take_list(Listed(message.kind, {}, {}), errors)
        waiting = tuple(self._waiting())
        unread = dict(self._refused)
        return Batch(tuple(changes), tuple(errors), not waiting, self._standing(), waiting, unread)

    def _waiting(self) -> Iterable[str]:
        """A sentence for each kind that has to be read before it counts."""
        for kind, path in self._unlisted.items():
            if kind not in self._refused:
                known = self._troubles.get(kind)
                yield f"{kind.__name__}: {known.reason if known else f'{path} is being read'}"

    def _standing(self) -> tuple[ObjectError, ...]:
        """All errors that hold now: what keeps kinds from being watched, then objects by name."""
        troubles = sorted(self._troubles.items(), key=lambda row: row[0].__name__)
        unusable = sorted(self._reported.items(), key=lambda row: (row[0][0].__name__, row[0][1]))
        return tuple(error for _, error in (*troubles, *unusable))

    def _emit(self, message: Message) -> None:
        """Called by the reflectors' threads; waits while the reader is behind."""
        while not self._closed.is_set():
            try:
                self._messages.put(message, timeout=0.2)
            except queue.Full:
                continue
            os.eventfd_write(self._bell, 1)
            return

    def _silence_bell(self) -> None:
        try:
            os.eventfd_read(self._bell)
        except BlockingIOError:
            return

    def _drain(self) -> Iterable[Message]:
        while True:
            try:
                yield self._messages.get_nowait()
            except queue.Empty:
                return

    def _take_trouble(self, trouble: Trouble, errors: list[ObjectError]) -> None:
        kind, reason = trouble.kind, trouble.reason
        if not reason:
            self._troubles.pop(kind, None)
            return
        optional = kind in self._optional
        if trouble.refused and kind in self._unlisted:
            if kind in self._dispensable:
                del self._unlisted[kind]
            else:
                self._refused[kind] = reason
            reason += f"; going on without {kind.__name__} objects"
        # An error of no object says that the server is away, which one optional kind does not.
        self._troubles[kind] = ObjectError("", kind.__name__ if optional else "", "", reason)
        errors.append(self._troubles[kind])

    def _take_list(self, listed: Listed, errors: list[ObjectError]) -> list[Change]:
        """A new beginning as a delta: what is not in it any more is gone."""
        kind = listed.kind
        there = listed.objects.keys() | listed.unusable.keys()
        gone = sorted(self._known.get(kind, set()) - there)
        self._known[kind] = set(there)
        self._unlisted.pop(kind, None)
        self._refused.pop(kind, None)
        self._troubles.pop(kind, None)
        for known in [known for known in self._reported if known[0] is kind]:
            if known[1] not in listed.unusable:
                del self._reported[known]
        for name, error in listed.unusable.items():
            self._report(kind, name, error, errors)
        changes = [Change(kind, name, None) for name in gone]
        return changes + [Change(kind, name, new) for name, new in listed.objects.items()]

    def _take_event(self, event: Event, errors: list[ObjectError]) -> list[Change]:
        known = self._known.setdefault(event.kind, set())
        if event.error is not None:
            known.add(event.name)
            self._report(event.kind, event.name, event.error, errors)
            return []  # what was known of it stays in force
        self._reported.pop((event.kind, event.name), None)
        if event.new is None:
            known.discard(event.name)
        else:
            known.add(event.name)
        return [Change(event.kind, event.name, event.new)]

    def _report(
        self, kind: Kind, name: ObjectName, error: ObjectError, errors: list[ObjectError]
    ) -> None:
        """Tell an error once."""
        if self._reported.get((kind, name)) != error:
            self._reported[kind, name] = error
            errors.append(error)
