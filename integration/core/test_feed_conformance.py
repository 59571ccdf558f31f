"""What every feed promises (core/feed/interface.py), asked of both of them.

    folder   a DirectoryFeed; a driver writes files
    api      a ClusterFeed of a real API server; a driver is its administrator

An API server refuses most of what a file can hold (port 0, a protocol that does not exist): what
it takes and we cannot use is a Node whose InternalIP is no address. Rows that need more are the
folder's alone (tests/core/test_directory_feed.py).
"""

from __future__ import annotations

import json
import select
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest
from control_plane import ControlPlane, control_plane
from feed_reader import Reader

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import ClusterFeed
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.feed.interface import Feed
from podwire_core.objects import Namespace, Node, ObjectName, Service

Document = dict[str, Any]
COLLECTIONS = {"Node": "nodes", "Namespace": "namespaces", "Service": "services"}


def service(name: str, port: int = 80, namespace: str = "default", **metadata: Any) -> Document:
    made = {"name": name, "namespace": namespace, **metadata}
    spec = {"ports": [{"port": port, "protocol": "TCP"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": made, "spec": spec}


def node(name: str, address: str) -> Document:
    status = {"addresses": [{"type": "InternalIP", "address": address}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}


def namespace(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


class Driver(Protocol):
    """Whoever fills a source."""

    def put(self, *documents: Document) -> None: ...
    def delete(self, document: Document) -> None: ...
    def open(self) -> Feed: ...
    def take_away(self) -> None:
        """The source as a whole; objects can still be put and deleted."""

    def bring_back(self) -> None: ...


class Folder:
    """One file an object."""

    def __init__(self, path: Path) -> None:
        self.here, self.elsewhere = path / "objects", path / "elsewhere"
        self.here.mkdir()

    def put(self, *documents: Document) -> None:
        for each in documents:
            hidden = self._folder / ".new"
            hidden.write_text(json.dumps(each))
            hidden.rename(self._file(each))

    def delete(self, document: Document) -> None:
        self._file(document).unlink()

    def open(self) -> Feed:
        return DirectoryFeed(self.here)

    def take_away(self) -> None:
        self.here.rename(self.elsewhere)

    def bring_back(self) -> None:
        self.elsewhere.rename(self.here)

    @property
    def _folder(self) -> Path:
        return self.here if self.here.exists() else self.elsewhere

    def _file(self, document: Document) -> Path:
        about = document["metadata"]
        where = f"{document['kind']}.{about.get('namespace', '')}.{about['name'][:200]}"
        return self._folder / f"{where}.json"


class Api:
    """An administrator; what it made is gone afterwards."""

    def __init__(self, plane: ControlPlane) -> None:
        self.plane = plane
        self.made: dict[str, Document] = {}
        self.later: list[Callable[[], None]] | None = None  # while the server is away

    def put(self, *documents: Document) -> None:
        if self.later is not None:
            self.later.append(lambda: self.put(*documents))
            return
        for each in documents:
            path = self._path(each)
            if path in self.made:
                self.plane.request("PATCH", path, each)
            else:
                self.plane.request("POST", path.rpartition("/")[0], each)
            if "status" in each:
                self.plane.request("PATCH", f"{path}/status", {"status": each["status"]})
            self.made[path] = each

    def delete(self, document: Document) -> None:
        if self.later is not None:
            self.later.append(lambda: self.delete(document))
            return
        path = self._path(document)
        self.plane.request("DELETE", path)
        del self.made[path]

    def open(self) -> Feed:
        with self.plane.netns.inside():
            return ClusterFeed(ApiServer.connect(self.plane.kubeconfig))

    def take_away(self) -> None:
        self.plane.stop("kube-apiserver")
        self.later = []

    def bring_back(self) -> None:
        self.plane.start_api_server()
        later, self.later = self.later or [], None
        for each in later:
            each()

    def clean(self) -> None:
        if self.later is not None:
            self.bring_back()
        for path in self.made:
            with suppress(urllib.error.HTTPError):
                self.plane.request("DELETE", path)

    def _path(self, document: Document) -> str:
        about = document["metadata"]
        inside = f"/namespaces/{about['namespace']}" if "namespace" in about else ""
        return f"/api/v1{inside}/{COLLECTIONS[document['kind']]}/{about['name']}"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture(params=["folder", "api"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    if request.param == "folder":
        yield Folder(tmp_path)
        return
    made = Api(request.getfixturevalue("plane"))
    yield made
    made.clean()


@pytest.fixture
def read(source: Driver) -> Iterator[Callable[[], Reader]]:
    """Open the source, read until everything was read once."""
    feeds: list[Feed] = []

    def make() -> Reader:
        feeds.append(source.open())
        reader = Reader(feeds[-1])
        reader.until("everything was read once", lambda: reader.synced)
        return reader

    yield make
    for feed in feeds:
        feed.close()


Read = Callable[[], Reader]


def ports(reader: Reader, name: str) -> list[int]:
    found = reader.snapshot.get(Service, ObjectName("default", name))
    return [row.port for row in found.spec.ports or ()] if found else []


def test_an_object_arrives_changes_and_goes(source: Driver, read: Read) -> None:
    reader = read()
    source.put(service("web"))
    reader.until("it came", lambda: ports(reader, "web") == [80])
    source.put(service("web", 81))
    reader.until("it changed", lambda: ports(reader, "web") == [81])
    source.delete(service("web"))
    reader.until("it went", lambda: not reader.has(Service, "web"))
    assert reader.standing == ()


def test_what_is_there_is_complete_before_it_counts(source: Driver, read: Read) -> None:
    source.put(*(service(f"early-{number}") for number in range(20)))
    reader = read()
    assert all(reader.has(Service, f"early-{number}") for number in range(20))
    assert reader.gone() == set()
    assert reader.waiting == ()
    assert reader.unread == {}


def test_there_is_nothing_to_read_when_nothing_happened(source: Driver, read: Read) -> None:
    source.put(service("web"))
    reader = read()
    reader.read()
    batch = reader.feed.read()
    assert (batch.changes, batch.errors, batch.synced) == ((), (), True)


def test_the_descriptor_says_that_there_is_news(source: Driver, read: Read) -> None:
    reader = read()
    assert not select.select([reader.feed], [], [], 0.3)[0], "silent when nothing happens"
    source.put(service("web"))
    assert select.select([reader.feed], [], [], 10)[0]
    reader.until("the news was it", lambda: reader.has(Service, "web"))


def test_what_is_put_again_unchanged_is_no_change(source: Driver, read: Read) -> None:
    source.put(service("web"))
    reader = read()
    reader.applied.clear()
    source.put(service("web"))
    source.put(service("other"))
    reader.until("what came later is there", lambda: reader.has(Service, "other"))
    assert [change.name.name for change in reader.applied] == ["other"]


def test_an_object_that_turns_bad_keeps_what_was_known_and_is_told_once(
    source: Driver, read: Read
) -> None:
    source.put(node("n1", "192.0.2.1"))
    reader = read()
    source.put(node("n1", "nonsense"))
    reader.until("it is told", lambda: bool(reader.told("Node n1")))
    source.put(service("web"))
    reader.until("others go on", lambda: reader.has(Service, "web"))
    (error,) = reader.told("Node n1")
    assert (error.object, error.field) == ("Node n1", "status.addresses[0].address")
    assert reader.standing == (error,)
    known = reader.snapshot.get(Node, ObjectName("", "n1"))
    assert known is not None
    assert known.internal_ips == ("192.0.2.1",)
    source.put(node("n1", "192.0.2.9"))
    reader.until("it is mended", lambda: reader.standing == ())
    mended = reader.snapshot.get(Node, ObjectName("", "n1"))
    assert mended is not None
    assert mended.internal_ips == ("192.0.2.9",)


def test_an_object_that_was_bad_from_the_start_arrives_when_it_is_mended(
    source: Driver, read: Read
) -> None:
    source.put(node("n1", "nonsense"), service("web"))
    reader = read()
    assert reader.has(Service, "web")
    assert not reader.has(Node, "n1", "")
    assert len(reader.told("Node n1")) == len(reader.standing) == 1
    source.put(node("n1", "192.0.2.1"))
    reader.until("it came", lambda: reader.has(Node, "n1", ""))
    assert reader.standing == ()


def test_a_bad_object_that_goes_is_no_error_any_more(source: Driver, read: Read) -> None:
    source.put(node("n1", "192.0.2.1"))
    reader = read()
    source.put(node("n1", "nonsense"))
    reader.until("it is told", lambda: bool(reader.standing))
    source.delete(node("n1", "nonsense"))
    reader.until("it went", lambda: not reader.has(Node, "n1", ""))
    assert reader.standing == ()


def test_a_source_that_was_away_is_a_delta_when_it_is_back(source: Driver, read: Read) -> None:
    source.put(service("stays"), service("goes"), service("changes"), node("n1", "192.0.2.1"))
    reader = read()
    reader.applied.clear()
    source.take_away()
    reader.until("it is told", lambda: bool(reader.lost or reader.standing))
    assert reader.has(Service, "stays"), "what is known stays"
    assert not reader.applied
    source.delete(service("goes"))
    source.put(service("changes", 81), service("comes"))
    source.bring_back()
    reader.until(
        "all of it arrived",
        lambda: reader.has(Service, "comes") and not reader.has(Service, "goes"),
    )
    reader.until("the change too", lambda: ports(reader, "changes") == [81])
    assert reader.gone() == {"goes"}
    assert {change.name.name for change in reader.applied} == {"goes", "comes", "changes"}
    reader.until("nothing stands", lambda: reader.standing == () and not reader.lost)


def test_equal_names_in_two_namespaces_are_two_objects(source: Driver, read: Read) -> None:
    source.put(namespace("one"), namespace("two"))
    source.put(service("web", 81, "one"), service("web", 82, "two"))
    reader = read()
    source.delete(service("web", 81, "one"))
    reader.until("one went", lambda: not reader.has(Service, "web", "one"))
    assert reader.has(Service, "web", "two")
    assert reader.has(Namespace, "two", "")


HOSTILE = {
    "a name of 63 characters": service("a" * 63),
    "a name of one": service("a"),
    "huge annotations": service("big", annotations={f"a{n}": "x" * 4000 for n in range(60)}),
    "many labels": service("labels", labels={f"l{n}": "v" * 63 for n in range(500)}),
    "a label with a long key": service("key", labels={f"{'a.' * 100}io/{'k' * 63}": ""}),
    "text of the whole world": service(
        "text", annotations={"note": "ünïcødé 漢字 🚀 \u202e \u0000"}
    ),
    "fields that no one knows": {**service("unknown"), "flavour": {"deep": [[[]]]}},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_object_arrives_and_disturbs_no_other(
    source: Driver, read: Read, what: str
) -> None:
    reader = read()
    hostile = HOSTILE[what]
    source.put(hostile)
    source.put(service("after"))
    reader.until(what, lambda: reader.has(Service, hostile["metadata"]["name"]))
    reader.until("the next one", lambda: reader.has(Service, "after"))
    assert reader.errors == []


def test_a_name_of_253_characters_arrives(source: Driver, read: Read) -> None:
    name = ".".join(["n" * 62] * 4) + "n"
    assert len(name) == 252
    reader = read()
    source.put(node(name, "192.0.2.1"))
    reader.until("it came", lambda: reader.has(Node, name, ""))


def test_many_objects_all_arrive_and_all_go(source: Driver, read: Read) -> None:
    many = [service(f"many-{number}") for number in range(150)]
    reader = read()
    source.put(*many)
    reader.until("all came", lambda: all(reader.has(Service, f"many-{n}") for n in range(150)))
    for each in many:
        source.delete(each)
    reader.until("all went", lambda: not any(reader.has(Service, f"many-{n}") for n in range(150)))
    assert reader.errors == []
