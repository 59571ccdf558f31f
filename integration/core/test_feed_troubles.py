"""The feed when the API server refuses, forgets us, falls silent, or is left in the middle."""

from __future__ import annotations

import base64
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane, control_plane
from feed_reader import Reader
from scratch import until

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import RESOURCES, ClusterFeed
from podwire_core.feed.reflector import Resource
from podwire_core.feed.transport import Patience
from podwire_core.objects import NetworkPolicy, Node, Service

SERVICES = "/api/v1/namespaces/default/services"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
CLUSTER_ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
GROUPS = {
    "": ["nodes", "namespaces", "pods", "services"],
    "discovery.k8s.io": ["endpointslices"],
    "networking.k8s.io": ["networkpolicies", "servicecidrs"],
    "policy.networking.k8s.io": ["clusternetworkpolicies"],
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("plane")
    authority(folder / "clients")
    with control_plane(folder, f"--client-ca-file={folder / 'clients.crt'}") as made:
        yield made


@pytest.fixture
def follow(plane: ControlPlane) -> Iterator[Callable[..., Reader]]:
    """Readers with an identity; the threads that reach the server live in its namespace."""
    feeds: list[ClusterFeed] = []

    def make(kubeconfig: Path, resources: Any = RESOURCES, **patience: float) -> Reader:
        with plane.netns.inside():
            server = ApiServer.connect(kubeconfig, patience=Patience(**patience))
            feeds.append(ClusterFeed(server, resources))
        return Reader(feeds[-1])

    yield make
    for feed in feeds:
        feed.close()


@pytest.fixture
def web(plane: ControlPlane) -> Iterator[str]:
    """A Service that is never deleted while a test runs."""
    body = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    plane.request("POST", SERVICES, body)
    yield "web"
    plane.request("DELETE", f"{SERVICES}/web")


def rules(*left_out: str) -> list[dict[str, Any]]:
    """Leave to list and watch everything but these resources."""
    return [
        {
            "apiGroups": [group],
            "resources": [name for name in names if name not in left_out],
            "verbs": ["list", "watch"],
        }
        for group, names in GROUPS.items()
        if set(names) - set(left_out)
    ]


def policy(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"podSelector": {}}}


# ------------------------------------------------------------------------------- refused


def test_a_forbidden_resource_holds_up_no_other_and_arrives_when_it_is_allowed(
    plane: ControlPlane, follow: Callable[..., Reader], web: str, tmp_path: Path
) -> None:
    plane.request("POST", POLICIES, policy("late"))
    token = plane.account("no-policies", rules("networkpolicies"))
    reader = follow(plane.write_kubeconfig(tmp_path / "config", {"token": token}))
    reader.until("the rest was read", lambda: reader.synced)
    assert reader.has(Service, web)
    assert list(reader.unread) == [NetworkPolicy]
    assert "403" in reader.unread[NetworkPolicy]
    assert "is forbidden" in reader.unread[NetworkPolicy]
    assert reader.waiting == ()
    (standing,) = reader.standing
    assert "going on without NetworkPolicy objects" in str(standing)
    plane.request("PATCH", f"{CLUSTER_ROLES}/no-policies", {"rules": rules()})
    reader.until("it is read", lambda: reader.has(NetworkPolicy, "late"))
    assert reader.unread == {}
    reader.until("nothing stands", lambda: reader.standing == ())
    plane.request("DELETE", f"{POLICIES}/late")


def test_a_forbidden_resource_is_waited_for_a_few_answers_long(
    plane: ControlPlane, follow: Callable[..., Reader], web: str, tmp_path: Path
) -> None:
    token = plane.account("hasty", rules("services"))
    reader = follow(plane.write_kubeconfig(tmp_path / "config", {"token": token}))
    reader.until("it is told", lambda: bool(reader.told("services is forbidden")))
    assert not reader.synced, "its role may be bound in a moment"
    assert any(sentence.startswith("Service: ") for sentence in reader.waiting)
    plane.request("PATCH", f"{CLUSTER_ROLES}/hasty", {"rules": rules()})
    reader.until("everything was read", lambda: reader.synced and reader.unread == {})
    assert reader.has(Service, web)


def test_what_is_forbidden_later_keeps_what_was_known(
    plane: ControlPlane, follow: Callable[..., Reader], web: str, tmp_path: Path
) -> None:
    token = plane.account("demoted", rules())
    reader = follow(plane.write_kubeconfig(tmp_path / "config", {"token": token}))
    reader.until("everything was read", lambda: reader.synced)
    plane.request("PATCH", f"{CLUSTER_ROLES}/demoted", {"rules": rules("services")})
    plane.stop("kube-apiserver")
    plane.start_api_server()
    reader.until("it is told", lambda: bool(reader.told("services is forbidden")))
    assert reader.has(Service, web)
    assert reader.synced
    assert reader.unread == {}
    assert reader.gone() == set()


def test_a_resource_that_is_not_served_is_gone_on_without(
    plane: ControlPlane, follow: Callable[..., Reader], web: str
) -> None:
    absent = Resource(NetworkPolicy, "/apis/networking.k8s.io/v9/networkpolicies")
    reader = follow(plane.kubeconfig, [*RESOURCES[:5], absent])
    reader.until("the rest was read", lambda: reader.synced)
    assert reader.has(Service, web)
    assert "404" in reader.unread[NetworkPolicy]


# ------------------------------------------------------------------------------- rotation


@pytest.mark.parametrize("way", ["a token file", "the whole kubeconfig"])
def test_an_expired_token_is_replaced_by_what_stands_in_its_file_and_nothing_flaps(
    plane: ControlPlane, follow: Callable[..., Reader], web: str, tmp_path: Path, way: str
) -> None:
    name = way.replace(" ", "-")
    config = tmp_path / "config"

    def write(token: str) -> None:
        if way == "a token file":
            (tmp_path / "token").write_text(f"{token}\n")
            plane.write_kubeconfig(config, {"tokenFile": str(tmp_path / "token")})
        else:
            plane.write_kubeconfig(config, {"token": token})

    write(plane.account(name, rules()))
    reader = follow(config)
    reader.until("everything was read", lambda: reader.synced)
    reader.applied.clear()
    renew_account(plane, name)
    plane.stop("kube-apiserver")  # watches outlive their token: end them
    plane.start_api_server()
    reader.until("it is told", lambda: bool(reader.told("401")))
    assert reader.has(Service, web)
    write(plane.token(name))
    plane.request("PATCH", f"{SERVICES}/{web}", {"spec": {"ports": [{"port": 81}]}})
    reader.until(
        "changes arrive again",
        lambda: any(change.name.name == web for change in reader.applied),
    )
    reader.until("nothing stands", lambda: reader.standing == ())
    assert reader.gone() == set()


def renew_account(plane: ControlPlane, name: str) -> None:
    """Make the account anew: tokens of the old one are worth nothing."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    plane.request("DELETE", f"{accounts}/{name}")
    plane.request("POST", accounts, {"metadata": {"name": name}})


def test_garbage_in_a_token_file_is_waited_out(
    plane: ControlPlane,
    follow: Callable[..., Reader],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "token").write_bytes(b"\xff\x00 no token")
    config = plane.write_kubeconfig(tmp_path / "config", {"tokenFile": str(tmp_path / "token")})
    (tmp_path / "token").write_text("garbage")
    reader = follow(config)
    reader.until("it is told", lambda: bool(reader.told("401")))
    assert not reader.synced
    (tmp_path / "token").write_text("")  # as in the middle of what write_text() does
    reader.until("it is not used", lambda: "the file of its token is empty" in caplog.text)
    (tmp_path / "token").write_text(plane.account("patient", rules()))
    reader.until("everything was read", lambda: reader.synced)
    assert reader.unread == {}
    assert not reader.told("anonymous"), "nobody is not who we are"


def test_a_rotated_client_certificate_is_used(
    plane: ControlPlane, follow: Callable[..., Reader], tmp_path: Path
) -> None:
    authority(tmp_path / "strangers")
    paths = {"client-certificate": tmp_path / "me.crt", "client-key": tmp_path / "me.key"}
    sign(tmp_path / "strangers", tmp_path / "me")
    user = {name: str(path) for name, path in paths.items()}
    reader = follow(plane.write_kubeconfig(tmp_path / "config", user))
    reader.until("it is told", lambda: bool(reader.told("401")))
    sign(plane.folder / "clients", tmp_path / "me")
    reader.until("everything was read", lambda: reader.synced)
    assert reader.unread == {}


def test_a_key_within_the_kubeconfig_is_used_and_nothing_of_it_stays_on_disk(
    plane: ControlPlane,
    follow: Callable[..., Reader],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    names = {"client-certificate-data": "crt", "client-key-data": "key"}

    def write(by: Path) -> Path:
        sign(by, tmp_path / "me")
        data = {
            name: base64.b64encode((tmp_path / f"me.{end}").read_bytes()).decode()
            for name, end in names.items()
        }
        return plane.write_kubeconfig(tmp_path / "config", data)

    authority(tmp_path / "strangers")
    reader = follow(write(tmp_path / "strangers"))
    reader.until("it is told", lambda: bool(reader.told("401")))
    write(plane.folder / "clients")
    reader.until("everything was read", lambda: reader.synced)
    assert reader.unread == {}
    assert list(folder.iterdir()) == []


def authority(stem: Path) -> None:
    """A certificate authority of its own."""
    openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority"),
        *("-keyout", f"{stem}.key", "-out", f"{stem}.crt"),
    )


def sign(by: Path, stem: Path) -> None:
    """A key and a certificate of an administrator."""
    request = ("-subj", "/O=system:masters/CN=me", "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
    openssl("req", "-newkey", "rsa:2048", "-nodes", *request)
    issuer = ("-CA", f"{by}.crt", "-CAkey", f"{by}.key", "-CAcreateserial", "-days", "2")
    openssl("x509", "-req", "-in", f"{stem}.csr", "-out", f"{stem}.crt", *issuer)


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


# -------------------------------------------------------------------------------- silence


@contextmanager
def blackhole(plane: ControlPlane, port: int = 6443) -> Iterator[None]:
    """Packets from and to a port vanish; connections stay open on both sides."""
    chains = (
        "add table inet hole; add chain inet hole in { type filter hook input priority -300; }; "
        f"add rule inet hole in tcp dport {port} drop; add rule inet hole in tcp sport {port} drop"
    )
    plane.netns.run("nft", chains)
    try:
        yield
    finally:
        plane.netns.run("nft", "delete table inet hole")


@contextmanager
def stopped(plane: ControlPlane) -> Iterator[None]:
    """The API server holds its breath; its kernel goes on answering for it."""
    process = plane.processes["kube-apiserver"]
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("fault", "patience"),
    [
        (stopped, {"silence_s": 3.0, "connect_s": 1.0}),
        (blackhole, {"death_s": 3.0, "connect_s": 1.0}),
    ],
    ids=["a server that hangs", "a machine that is gone"],
)
def test_silence_is_noticed_told_and_got_over(
    plane: ControlPlane,
    follow: Callable[..., Reader],
    web: str,
    fault: Callable[[ControlPlane], Any],
    patience: dict[str, float],
) -> None:
    reader = follow(plane.kubeconfig, **patience)
    reader.until("everything was read", lambda: reader.synced)
    with fault(plane):
        reader.errors.clear()
        reader.until("it is told", lambda: bool(reader.told("services")), seconds=10)
        assert reader.has(Service, web)
    patch = {"spec": {"ports": [{"port": 82}]}}
    until("it listens again", plane.ready)
    plane.request("PATCH", f"{SERVICES}/{web}", patch)
    reader.until(
        "changes arrive again",
        lambda: any(str(82) in repr(change.new) for change in reader.applied),
    )
    assert reader.gone() == set()


def test_the_bounds_of_silence_fit_the_servers_bookmarks() -> None:
    assert Patience().silence_s > 2 * 60, "a bookmark a minute, one may be late"
    assert Patience().death_s < Patience().silence_s, "a dead machine is found by its kernel first"


# ---------------------------------------------------------------------------------- close


@contextmanager
def mute_listener(plane: ControlPlane, port: int) -> Iterator[None]:
    """Takes connections and says nothing."""
    with plane.netns.inside():
        listener = socket.create_server(("127.0.0.1", port), backlog=64)
    with closing(listener):
        yield


LEFT = {
    "connecting": ("https", 6444),
    "in the TLS handshake": ("https", 6445),
    "waiting for an answer": ("http", 6445),
    "backing off": ("https", 6446),
    "watching": ("https", 6443),
}


@pytest.mark.parametrize("state", LEFT)
def test_closing_ends_every_thread_at_once_and_leaks_nothing(
    plane: ControlPlane, state: str
) -> None:
    scheme, port = LEFT[state]
    address = f"{scheme}://127.0.0.1:{port}"
    with mute_listener(plane, 6445), blackhole(plane, 6444):
        with plane.netns.inside():
            server = ApiServer.connect(plane.kubeconfig, address)
        before = fds()
        with plane.netns.inside():
            feed = ClusterFeed(server)
        reader = Reader(feed)
        if state == "watching":
            reader.until("everything was read", lambda: reader.synced)
        elif state == "backing off":
            reader.until("it is told", lambda: bool(reader.errors))
        else:
            until("connections are on their way", lambda: len(fds() - before) > 6)
        feed.close()
        assert not [each for each in threading.enumerate() if each.name.startswith("reflector")]
        server._access.pool.clear()
        assert fds() <= before
        feed.close()


def fds() -> set[str]:
    return {each.name for each in Path("/proc/self/fd").iterdir()}


def test_an_object_of_a_kind_that_is_not_asked_for_is_not_read(
    plane: ControlPlane, follow: Callable[..., Reader], web: str
) -> None:
    reader = follow(plane.kubeconfig, [row for row in RESOURCES if row.kind is Node])
    reader.until("everything was read", lambda: reader.synced)
    assert not reader.has(Service, web)
