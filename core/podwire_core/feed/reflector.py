"""One kind of object, listed and watched: the API's own protocol, as a generator of messages.

    no version    ─► stream the initial events (WatchList, Kubernetes 1.32+), or list in pages
    a version     ─► watch from there; bookmarks move the version on without an object
    410, or an ERROR event with 410 ─► the version is too old: begin anew
    403, 404      ─► as below; told as refused when it was the answer REFUSALS times
    404, optional ─► the server has no such kind: no trouble, and asked again rarely; of a kind
                     that it had, and of a doubted one, after REFUSALS answers
    anything else ─► say what is wrong, wait with back-off and jitter, go on from the version

A new beginning is told as one Listed: whoever holds the objects makes a delta of it.

One 403 says little: a server that has just started, and a role that is about to be bound, give
it too. REFUSALS of them, with their back-off, are about three seconds.

Source: kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes".
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from podwire_core import typed
from podwire_core.backoff import Backoff
from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import Answer, ApiError, ApiServer
from podwire_core.feed.decode import decode_json
from podwire_core.feed.transport import Call
from podwire_core.objects import KubernetesObject, ObjectName
from podwire_core.snapshot import Kind

PAGE = 500
WATCH_S = 300  # the server ends a watch after about so long; both sides then start clean
FIRST_WAIT_S = 0.2
MAX_WAIT_S = 30.0
REFUSALS = 5
ABSENT_S = 600.0  # a server that learns a kind of Kubernetes' own was upgraded: no daily matter

#: Definite answers: this resource is not for us, or not there.
_REFUSED = {403, 404}

#: What servers say that do not stream lists: unknown fields, a gate that is off, etcd 3.4.
_CANNOT_STREAM = {400, 422, 500, 501}
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class Resource:
    """A kind, where the API serves it, and which of its objects we want.

    optional: one that not every server has: of one that it does not know (404) there are none.
    dispensable: one that nothing waits for when it is refused (403).
    doubted: an optional one that a single 404 does not make absent, at the beginning either.
    absent_s: seconds after which, at the latest, a server without it is asked again.
    """

    kind: Kind
    path: str
    label_selector: str = ""
    field_selector: str = ""
    optional: bool = False
    dispensable: bool = False
    doubted: bool = False
    absent_s: float = ABSENT_S


@dataclass(frozen=True)
class Listed:
    """Everything there is of a kind. unusable: objects that are there and cannot be decoded."""

    kind: Kind
    objects: dict[ObjectName, KubernetesObject]
    unusable: dict[ObjectName, ObjectError]


@dataclass(frozen=True)
class Event:
    """One object came or changed (`new`), went (None), or cannot be decoded (`error`)."""

    kind: Kind
    name: ObjectName
    new: KubernetesObject | None
    error: ObjectError | None = None


@dataclass(frozen=True)
class Trouble:
    """What keeps a kind from being watched; an empty reason: it is over.

    refused: the server means it, so no one should wait for this kind.
    """

    kind: Kind
    reason: str
    refused: bool = False


@dataclass(frozen=True)
class Absent:
    """The server does not know an optional kind, so there are no objects of it."""

    kind: Kind


Message = Listed | Event | Trouble | Absent
Emit = Callable[[Message], None]


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Stamp(msgspec.Struct):
    metadata: _Meta
    code: int = 0
    message: str = ""


class _Envelope(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _ExpiredError(Exception):
    """The version is too old to go on from."""


@dataclass
class _Initial:
    """Objects of a new beginning, until it is complete."""

    objects: dict[ObjectName, KubernetesObject] = field(default_factory=dict)
    unusable: dict[ObjectName, ObjectError] = field(default_factory=dict)


class Reflector:
    """Lists and watches one resource until stopped; run() is a thread's work."""

    def __init__(self, server: ApiServer, resource: Resource, emit: Emit) -> None:
        self._server = server
        self._resource = resource
        self._emit = emit
        self._version = ""
        self._stopped = threading.Event()
        self._call = Call()
        self._backoff = Backoff(FIRST_WAIT_S, MAX_WAIT_S, jitter=0.5)
        self._told: Trouble | Absent = Trouble(resource.kind, "")
        self._refusals = 0

    def stop(self) -> None:
        """End run(), from any thread, whatever it waits for."""
        self._stopped.set()
        self._call.cut()

    def run(self) -> None:
        """Work until stopped."""
        while not self._stopped.is_set():
            try:
                self._once()
            except _ExpiredError:
                self._version = ""
                self._stopped.wait(FIRST_WAIT_S)
            except Exception as error:  # noqa: BLE001 - a thread that died is a frozen cluster
                self._failed(error)
            else:
                self._went_well()

    def _once(self) -> None:
        if self._version:
            self._watch()
            self._stopped.wait(FIRST_WAIT_S)  # a server that ends watches at once is not hammered
        else:
            self._begin()

    def _went_well(self) -> None:
        self._backoff.succeeded()
        self._refusals = 0
        self._tell_trouble("")

    def _failed(self, error: Exception) -> None:
        if self._stopped.is_set():
            return
        status = error.status if isinstance(error, ApiError) else 0
        if status == 410:
            expired, self._version = self._version, ""
            if expired:
                self._stopped.wait(FIRST_WAIT_S)
                return
        if status in _REFUSED:
            if not self._refusals:
                self._backoff.succeeded()  # it answers: what was before is no reason to wait long
            self._refusals += 1
        told = self._refusals >= REFUSALS
        doubted = bool(self._version) or self._resource.doubted
        absent = status == 404 and self._resource.optional and (told or not doubted)
        if absent:
            self._version = ""  # what comes with the kind, when it comes again, is a new beginning
            self._tell(Absent(self._resource.kind))
        else:
            self._tell_trouble(f"{self._server.address}{self._resource.path}: {error}")
        wait = self._backoff.failed(0.0)
        self._stopped.wait(_rarely(self._resource.absent_s) if absent and told else wait)

    def _tell_trouble(self, reason: str) -> None:
        """Say what is wrong, when it is not what was said last."""
        refused = bool(reason) and self._refusals >= REFUSALS
        self._tell(Trouble(self._resource.kind, reason, refused))

    def _tell(self, state: Trouble | Absent) -> None:
        if state != self._told:
            self._told = state
            self._emit(state)

    # --------------------------------------------------------------------- beginnings

    def _begin(self) -> None:
        """The initial events and then the watch, in one stream; or a list."""
        query = self._watch_query()
        query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        try:
            self._consume(query, _Initial())
        except ApiError as error:
            if error.status not in _CANNOT_STREAM:
                raise
            self._list_pages()  # an older server, an older etcd behind it, or a bad moment

    def _list_pages(self) -> None:
        found = _Initial()
        token = ""
        while True:
            query = {"limit": str(PAGE)} | ({"continue": token} if token else {})
            page = self._page(query)
            for raw in page.items or ():
                self._add(found, raw)
            token = page.metadata.continue_
            if not token:
                break
        self._emit(Listed(self._resource.kind, found.objects, found.unusable))
        self._version = page.metadata.resource_version

    def _page(self, query: dict[str, str]) -> _Page:
        answer = self._get(query)
        try:
            return typed.decode(answer.body(), _Page)
        finally:
            answer.release()

    # ------------------------------------------------------------------------ watching

    def _watch(self) -> None:
        self._consume(self._watch_query() | {"resourceVersion": self._version}, None)

    def _watch_query(self) -> dict[str, str]:
        seconds = round(WATCH_S * random.uniform(1, 1.5))  # noqa: S311 - spreads load
        return {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}

    def _consume(self, query: dict[str, str], initial: _Initial | None) -> None:
        """Take a stream's events in until it ends; `initial` collects a new beginning."""
        for line in self._lines(query):
            event = typed.decode(line, _Envelope)
            stamp = typed.decode(event.object, _Stamp)
            if event.type == "ERROR":
                if stamp.code == 410:
                    raise _ExpiredError
                raise ApiError(stamp.code, stamp.message)
            if initial is not None:
                initial = self._take_initial(event, stamp, initial)
            elif event.type != "BOOKMARK":
                self._take_event(event, stamp)
            if initial is None:
                self._version = stamp.metadata.resource_version
                self._went_well()  # not only when the watch ends, minutes later

    def _take_initial(self, event: _Envelope, stamp: _Stamp, initial: _Initial) -> _Initial | None:
        """One event of a new beginning; None when that was its end."""
        if event.type == "BOOKMARK":
            if (stamp.metadata.annotations or {}).get(_INITIAL_EVENTS_END) != "true":
                return initial
            self._emit(Listed(self._resource.kind, initial.objects, initial.unusable))
            return None
        self._add(initial, event.object)
        return initial

    def _take_event(self, event: _Envelope, stamp: _Stamp) -> None:
        kind, name = self._resource.kind, self._name(stamp)
        if event.type == "DELETED":
            self._emit(Event(kind, name, None))
            return
        try:
            self._emit(Event(kind, name, self._decode(event.object)))
        except ObjectError as error:
            self._emit(Event(kind, name, None, error))

    def _add(self, found: _Initial, raw: msgspec.Raw) -> None:
        name = self._name(typed.decode(raw, _Stamp))
        try:
            found.objects[name] = self._decode(raw)
        except ObjectError as error:
            found.unusable[name] = error

    def _decode(self, raw: msgspec.Raw) -> KubernetesObject:
        return decode_json(raw, self._resource.kind, self._server.address)

    def _name(self, stamp: _Stamp) -> ObjectName:
        return ObjectName(stamp.metadata.namespace, stamp.metadata.name)

    # ------------------------------------------------------------------------ requests

    def _get(self, query: dict[str, str]) -> Answer:
        if self._resource.label_selector:
            query = query | {"labelSelector": self._resource.label_selector}
        if self._resource.field_selector:
            query = query | {"fieldSelector": self._resource.field_selector}
        return self._server.get(self._resource.path, query, self._call)

    def _lines(self, query: dict[str, str]) -> Iterator[bytes]:
        answer = self._get(query)
        if self._version:
            self._tell_trouble("")  # a kind of which nothing changes says nothing for a minute
        try:
            for line in answer.lines():
                if self._stopped.is_set():
                    return
                if line:
                    yield line
        finally:
            answer.release()


def _rarely(longest: float) -> float:
    """Seconds until an absent kind is asked for again, not the same on all nodes."""
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load
