"""Kubernetes events on objects that cannot be used, so that `kubectl describe` shows why.

Events are core/v1: its reader in `kubectl describe` shows count, first and last time, and they
can be moved on by one patch; events.k8s.io/v1 stores the same objects, forbids these fields, and
asks for a series of its own.

A problem's event has the same name from every node and after every restart: a digest of object,
field and reason. Whoever finds it there already counts it up, and only if no one did so in
REPEAT_S: one problem is one event, and at most one write in REPEAT_S, however many nodes see it.

API servers forget events an hour after their last change (kube-apiserver --event-ttl), so what
still stands is told again every RETELL_S.

Sources: Kubernetes API reference, Event v1 core; KEP-383 (events.k8s.io).
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from podwire_core import typed
from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiError, ApiServer

REASON = "Unusable"
CONTROLLER = "podwire"
REPEAT_S = 300.0
RETELL_S = 45 * 60.0
MAX_KNOWN = 10_000
#: What events.k8s.io allows a note; the API server cuts nothing, it refuses.
MAX_MESSAGE = 1024
_MAX_NAME = 200  # of 253: a dot and the digest follow


class Kind(msgspec.Struct, frozen=True):
    """Where the API serves a kind."""

    api_version: str
    resource: str

    def path(self, namespace: str, name: str) -> str:
        """The path of one object."""
        root = "/apis" if "/" in self.api_version else "/api"
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}/{self.api_version}{inside}/{self.resource}/{name}"


KINDS = {
    "Node": Kind("v1", "nodes"),
    "Namespace": Kind("v1", "namespaces"),
    "Pod": Kind("v1", "pods"),
    "Service": Kind("v1", "services"),
    "EndpointSlice": Kind("discovery.k8s.io/v1", "endpointslices"),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "ServiceCIDR": Kind("networking.k8s.io/v1", "servicecidrs"),
    "ClusterNetworkPolicy": Kind("policy.networking.k8s.io/v1alpha2", "clusternetworkpolicies"),
}


class Regarding(msgspec.Struct, frozen=True):
    """The object that an event is about."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, error: ObjectError) -> Regarding | None:
        """From "Service shop/api"; None when the error names no object."""
        kind, _, name = error.object.partition(" ")
        namespace, slash, rest = name.partition("/")
        if kind not in KINDS or not name or " " in name:
            return None
        return cls(kind, namespace, rest) if slash else cls(kind, "", name)


class Occurrences:
    """Which problems stand, and which of them are worth an event now (no clock, no network)."""

    def __init__(
        self, repeat: float = REPEAT_S, retell: float = RETELL_S, most: int = MAX_KNOWN
    ) -> None:
        self._repeat, self._retell, self._most = repeat, retell, most
        self._standing: frozenset[ObjectError] = frozenset()
        self._told: OrderedDict[ObjectError, float] = OrderedDict()  # the oldest first

    def due(self, standing: Iterable[ObjectError], now: float) -> list[ObjectError]:
        """Problems to tell now, in order.

        New ones that were not told in `repeat` seconds, then those that stand `retell` seconds
        after they were told last.
        """
        before, self._standing = self._standing, frozenset(standing)
        new = sorted(self._standing - before, key=str) if before != self._standing else []
        found = [error for error in new if self._is_due(error, now)]
        return found + self._overdue(now)

    @property
    def until(self) -> float | None:
        """When a problem that stands may be due again; None while there is none."""
        if not self._standing or not self._told:
            return None
        return next(iter(self._told.values())) + self._retell

    def _is_due(self, error: ObjectError, now: float) -> bool:
        if Regarding.of(error) is None:
            return False
        told = self._told.get(error)
        if told is not None and now - told < self._repeat:
            return False
        self._tell(error, now)
        while len(self._told) > self._most:
            self._told.popitem(last=False)
        return True

    def _overdue(self, now: float) -> list[ObjectError]:
        """What was told long ago: due again, or forgotten when it stands no more."""
        found = []
        while self._told and now >= next(iter(self._told.values())) + self._retell:
            error, _ = self._told.popitem(last=False)
            if error in self._standing:
                self._tell(error, now)
                found.append(error)
        return found

    def _tell(self, error: ObjectError, now: float) -> None:
        self._told[error] = now
        self._told.move_to_end(error)


@dataclass(frozen=True)
class ObjectEvent:
    """One problem, told to the API server: a Letter."""

    error: ObjectError
    node: str
    clock: Callable[[], float] = time.time

    @property
    def subject(self) -> str:
        """See Letter."""
        return f"event on {self.error.object}"

    def send(self, server: ApiServer) -> None:
        """See Letter. What is gone needs no event."""
        regarding = Regarding.of(self.error)
        if regarding is None:
            return
        with suppress(_GoneError):
            uid = _uid(server, regarding)
            event = event_on(self.error, regarding, uid, self.node, self.clock())
            path = f"/api/v1/namespaces/{_namespace(regarding)}/events"
            try:
                server.send("POST", path, event)
            except ApiError as error:
                if error.status != 409:
                    raise
                self._count_up(server, f"{path}/{event['metadata']['name']}")  # type: ignore[index]  # made above

    def _count_up(self, server: ApiServer, path: str) -> None:
        """Someone told it already: count it up, unless that was lately."""
        known = typed.decode(_get(server, path), _Known)
        now = self.clock()
        if known.last_timestamp and now - known.last_timestamp.timestamp() < REPEAT_S:
            return  # also where the other node's clock is ahead of ours
        metadata = {"resourceVersion": known.metadata.resource_version}
        body = {"metadata": metadata, "count": known.count + 1, "lastTimestamp": _stamp(now)}
        try:
            server.send("PATCH", path, body, "application/merge-patch+json")
        except ApiError as error:
            if error.status != 409:  # another node was faster, which is as good
                raise


def event_on(
    error: ObjectError, regarding: Regarding, uid: str, node: str, now: float
) -> dict[str, object]:
    """The Event as the API takes it. Events on what has no namespace live in `default`."""
    reference = {
        "apiVersion": KINDS[regarding.kind].api_version,
        "kind": regarding.kind,
        "namespace": regarding.namespace,
        "name": regarding.name,
        "uid": uid,
    }
    message = ": ".join(part for part in (error.field, error.reason) if part)
    when = _stamp(now)
    return {
        "metadata": {"name": event_name(error, uid), "namespace": _namespace(regarding)},
        "involvedObject": {key: value for key, value in reference.items() if value},
        "type": "Warning",
        "reason": REASON,
        "message": message if len(message) <= MAX_MESSAGE else f"{message[: MAX_MESSAGE - 1]}…",
        "source": {"component": "podwire"},
        "reportingComponent": CONTROLLER,
        "reportingInstance": node,
        "firstTimestamp": when,
        "lastTimestamp": when,
        "count": 1,
    }


def event_name(error: ObjectError, uid: str) -> str:
    """The same for the same problem of the same object, wherever and whenever it is seen."""
    told = msgspec.json.encode((error.object, uid, error.field, error.reason))
    digest = hashlib.sha256(told).hexdigest()[:16]
    name = error.object.rpartition(" ")[2].rpartition("/")[2]
    return f"{name[:_MAX_NAME].rstrip('-.')}.{digest}"


class _GoneError(Exception):
    """The object is not there any more."""


class _Metadata(msgspec.Struct, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Known(msgspec.Struct, rename="camel"):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    count: int = 1
    last_timestamp: datetime | None = None


def _uid(server: ApiServer, regarding: Regarding) -> str:
    """The object's uid, by which `kubectl describe` finds events; "" where we may not ask.

    Asked for here, once an event, because a uid in memory costs 100 bytes an object.
    """
    path = KINDS[regarding.kind].path(regarding.namespace, regarding.name)
    try:
        return typed.decode(_get(server, path), _Known).metadata.uid
    except ApiError as error:
        if error.status == 404:
            raise _GoneError from error
        if error.status == 403:
            return ""
        raise


def _get(server: ApiServer, path: str) -> bytes:
    answer = server.get(path, {})
    try:
        return answer.body()
    finally:
        answer.release()


def _namespace(regarding: Regarding) -> str:
    return regarding.namespace or "default"


def _stamp(now: float) -> str:
    """Seconds since 1970 as core/v1 writes times."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
