"""The feed of a real API server: everything arrives, in order, whatever happens to the server."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, control_plane
from scratch import until

from podwire_core.errors import FeedError, ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import ClusterFeed
from podwire_core.objects import EndpointSlice, Namespace, ObjectName, Pod, Service
from podwire_core.snapshot import Change, Snapshot

SERVICES = "/api/v1/namespaces/default/services"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


class Reader:
    """Reads a feed the way the agent does, and keeps what it said."""

    def __init__(self, feed: ClusterFeed) -> None:
        self.feed = feed
        self.snapshot = Snapshot()
        self.applied: list[Change] = []
        self.errors: list[ObjectError] = []
        self.synced = False

    def read(self) -> None:
        if not select.select([self.feed], [], [], 0.05)[0]:
            return
        batch = self.feed.read()
        self.applied += [change for change in batch.changes if self.snapshot.apply(change)]
        self.errors += batch.errors
        self.synced = batch.synced

    def until(self, fact: str, holds: Callable[[], bool], seconds: float = 60) -> None:
        def read_on() -> bool:
            self.read()
            return holds()

        until(fact, read_on, seconds)

    def has(self, name: str) -> bool:
        return self.snapshot.get(Service, ObjectName("default", name)) is not None


@pytest.fixture
def connect(plane: ControlPlane) -> Iterator[Callable[[], Reader]]:
    """Readers of the server; the threads that reach it live in its namespace."""
    feeds: list[ClusterFeed] = []

    def make() -> Reader:
        with plane.netns.inside():
            feed = ClusterFeed(ApiServer.connect(plane.kubeconfig))
        feeds.append(feed)
        reader = Reader(feed)
        reader.until("everything was read once", lambda: reader.synced)
        return reader

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def made(plane: ControlPlane) -> Iterator[Callable[..., None]]:
    """Make Services; all are gone after the test."""
    names: list[str] = []

    def make(name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        metadata = {"name": name, "labels": labels or {}}
        body = {"metadata": metadata, "spec": {"ports": [{"port": 80}], **spec}}
        plane.request("POST", SERVICES, body)
        names.append(name)

    yield make
    for name in names:
        try:
            plane.request("DELETE", f"{SERVICES}/{name}")
        except OSError:
            continue


def test_what_is_there_is_read_before_it_counts(
    connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    made("early")
    reader = connect()
    assert reader.has("early")
    assert reader.snapshot.get(Namespace, ObjectName("", "kube-system")) is not None
    assert reader.snapshot.get(EndpointSlice, ObjectName("default", "kubernetes")) is not None
    assert reader.errors == []


def test_changes_arrive(
    plane: ControlPlane, connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    reader = connect()
    made("fresh")
    reader.until("it came", lambda: reader.has("fresh"))
    patch = {"spec": {"ports": [{"port": 81}]}}
    plane.request("PATCH", f"{SERVICES}/fresh", patch)

    def ports() -> list[int]:
        found = reader.snapshot.get(Service, ObjectName("default", "fresh"))
        return [row.port for row in found.spec.ports or ()] if found else []

    reader.until("it changed", lambda: 81 in ports())
    plane.request("DELETE", f"{SERVICES}/fresh")
    reader.until("it went", lambda: not reader.has("fresh"))


def test_headless_and_foreign_services_are_left_out_on_the_servers_side(
    connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    reader = connect()
    made("foreign", {"service.kubernetes.io/service-proxy-name": "other"})
    made("labelled", {"service.kubernetes.io/headless": ""})
    made("ours")
    reader.until("ours came", lambda: reader.has("ours"))
    assert not reader.has("foreign")
    assert not reader.has("labelled")


def test_a_label_that_leaves_a_service_out_looks_like_its_end(
    plane: ControlPlane, connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    reader = connect()
    made("given-away")
    reader.until("it came", lambda: reader.has("given-away"))
    label = {"metadata": {"labels": {"service.kubernetes.io/service-proxy-name": "other"}}}
    plane.request("PATCH", f"{SERVICES}/given-away", label)
    reader.until("it went", lambda: not reader.has("given-away"))


def test_a_server_that_was_away_is_a_delta_when_it_is_back(
    plane: ControlPlane, connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    made("stays")
    reader = connect()
    reader.applied.clear()
    plane.stop("kube-apiserver")
    reader.until("it is told", lambda: bool(reader.errors))
    assert reader.has("stays"), "what is known stays"
    plane.start_api_server()
    made("later")
    reader.until("changes arrive again", lambda: reader.has("later"))
    assert not [change for change in reader.applied if change.new is None]
    assert not [change for change in reader.applied if change.name.name == "stays"]


def test_a_history_that_was_compacted_away_is_a_delta(
    plane: ControlPlane, connect: Callable[[], Reader], made: Callable[..., None]
) -> None:
    made("stays")
    made("goes")
    reader = connect()
    reader.applied.clear()
    plane.stop("kube-apiserver")
    plane.stop("etcd")
    plane.start_etcd()
    plane.start_api_server()
    plane.request("DELETE", f"{SERVICES}/goes")
    for number in range(20):
        plane.request("PATCH", f"{SERVICES}/stays", {"metadata": {"labels": {"n": str(number)}}})
    compact(plane)
    plane.stop("kube-apiserver")
    plane.start_api_server()
    reader.until("it went", lambda: not reader.has("goes"))
    assert reader.has("stays")
    gone = {change.name.name for change in reader.applied if change.new is None}
    assert gone == {"goes"}


def compact(plane: ControlPlane) -> None:
    """Forget etcd's history, as the API server does every five minutes."""
    keys = '{"key":"AA==","range_end":"AA=="}'
    curl = ("curl", "--noproxy", "*", "-s", "http://127.0.0.1:2379/v3/kv")
    answer = plane.netns.run(*curl[:4], f"{curl[4]}/range", "-d", keys)
    revision = answer.split('"revision":"')[1].split('"')[0]
    done = plane.netns.run(
        *curl[:4], f"{curl[4]}/compaction", "-d", f'{{"revision":"{revision}","physical":true}}'
    )
    assert "error" not in done


def test_many_objects_are_listed_in_pages_and_watched(
    plane: ControlPlane, connect: Callable[[], Reader]
) -> None:
    pods = "/api/v1/namespaces/default/pods"
    for number in range(40):
        body = {
            "metadata": {"name": f"p{number}", "labels": {"n": str(number)}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
        plane.request("POST", pods, body)
    reader = connect()
    names = {pod.name.name for pod in reader.snapshot.all(Pod)}
    assert {f"p{number}" for number in range(40)} <= names
    plane.request("DELETE", f"{pods}?gracePeriodSeconds=0")
    reader.until("all went", lambda: not reader.snapshot.all(Pod))


def test_no_configuration_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="no way to an API server"):
        ApiServer.connect(tmp_path / "nowhere")


@contextmanager
def agent(plane: ControlPlane, folder: Path) -> Iterator[None]:
    """The agent, in the server's own namespace."""
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", "node1"]
    source = ["--feed", "kubernetes", "--kubeconfig", str(plane.kubeconfig)]
    enter = ["nsenter", f"--net=/run/netns/{plane.netns.name}"]
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen([*enter, *command, *source], stderr=log)
    try:
        yield
        process.terminate()
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_the_agent_serves_what_the_api_server_says(
    plane: ControlPlane, made: Callable[..., None], tmp_path: Path
) -> None:
    made("web", clusterIP="10.96.0.77")
    with agent(plane, tmp_path):
        until("it is refused, for want of endpoints", lambda: "10.96.0.77" in rules(plane))
        made("late", clusterIP="10.96.0.78")
        until("so is a later one", lambda: "10.96.0.78" in rules(plane))


def rules(plane: ControlPlane) -> str:
    return plane.netns.run("nft", "list", "ruleset")
