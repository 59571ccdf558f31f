"""The way to an API server: which configuration counts, what stays of its secrets, what it says."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from kubernetes.config import incluster_config

from podwire_core.errors import FeedError
from podwire_core.feed.access import Access
from podwire_core.feed.api_server import ApiError, ApiServer
from podwire_core.feed.transport import Patience

TOKEN = {"token": "secret"}


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user with a certificate and a key within the kubeconfig."""
    stem = tmp_path_factory.mktemp("identity") / "me"
    made = ["-subj", "/CN=me", "-keyout", f"{stem}.key", "-out", f"{stem}.crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made]
    subprocess.run(command, check=True, capture_output=True)
    names = {"client-certificate-data": f"{stem}.crt", "client-key-data": f"{stem}.key"}
    return {
        name: base64.b64encode(Path(path).read_bytes()).decode() for name, path in names.items()
    }


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go; this process' and its children's."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


def left_behind(temporary: Path, pid: int | None = None) -> list[Path]:
    """What a process left where keys may lie for a moment."""
    return [*temporary.iterdir(), *Path("/dev/shm").glob(f"podwire-{pid or os.getpid()}-*")]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a kubeconfig, and no KUBECONFIG."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    return tmp_path


def kubeconfig(path: Path, user: dict[str, Any], server: str = "https://192.0.2.1:6443") -> Path:
    cluster: dict[str, Any] = {"server": server}
    if authority := user.get("client-certificate-data"):
        cluster["certificate-authority-data"] = authority
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def read(path: Path | None = None, address: str | None = None) -> Access:
    return Access.read(path, address, Patience())


# ------------------------------------------------------------------------ secrets on disk

CONNECT = """
import sys, time
from pathlib import Path
from podwire_core.feed.api_server import ApiError, ApiServer
server = ApiServer.connect(Path(sys.argv[1]))
try:
    server.get("/version", {})  # no answer: the configuration is read again
except ApiError:
    pass
print("connected", flush=True)
time.sleep(60)
"""


def test_a_process_that_is_killed_leaves_no_key_behind(
    tmp_path: Path, temporary: Path, identity: dict[str, str]
) -> None:
    path = kubeconfig(tmp_path / "config", identity, "https://127.0.0.1:1")
    command = [sys.executable, "-c", CONNECT, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert said == "connected\n"
    assert left_behind(temporary, process.pid) == []


def test_many_may_connect_at_once_and_again(
    tmp_path: Path, temporary: Path, identity: dict[str, str]
) -> None:
    path = kubeconfig(tmp_path / "config", identity)
    failures: list[Exception] = []

    def connect() -> None:
        try:
            for _ in range(5):
                ApiServer.connect(path)
        except Exception as error:  # noqa: BLE001 - the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=connect) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert left_behind(temporary) == []


def test_the_key_of_a_login_program_is_not_left_behind(
    tmp_path: Path, temporary: Path, identity: dict[str, str]
) -> None:
    """Here the first answer is a token that is over, the second a certificate."""
    pem = {key: base64.b64decode(identity[key]).decode() for key in identity}
    old = {"token": "old", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    new = {
        "clientCertificateData": pem["client-certificate-data"],
        "clientKeyData": pem["client-key-data"],
    }
    version = "client.authentication.k8s.io/v1"
    for name, status in (("old", old), ("new", new)):
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (tmp_path / name).write_text(json.dumps(answer))
    program = tmp_path / "login"
    program.write_text(f"#!/bin/sh\ncd {tmp_path} && echo run >> runs && cat old && cp new old\n")
    program.chmod(0o700)
    login = {"exec": {"apiVersion": version, "command": str(program), "interactiveMode": "Never"}}
    access = read(kubeconfig(tmp_path / "config", login))
    access.headers()
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]
    assert left_behind(temporary) == []


# ---------------------------------------------------------------------------- precedence


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]) -> None:
    """A pod's account, and the variables that every pod has."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("the-pods\n")
    (folder / "ca.crt").write_bytes(base64.b64decode(identity["client-certificate-data"]))
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(folder / "ca.crt"))
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_HOST", "192.0.2.4")
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_PORT", "443")


@pytest.mark.usefixtures("account")
def test_the_strongest_source_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().address == "https://192.0.2.4:443"
    kubeconfig(home / ".kube/config", TOKEN, "https://192.0.2.3")
    assert read().address == "https://192.0.2.3"
    named = kubeconfig(home / "named", TOKEN, "https://192.0.2.2")
    monkeypatch.setenv("KUBECONFIG", f"{named}:{home / 'not-there'}")
    assert read().address == "https://192.0.2.2"
    assert read(kubeconfig(home / "flag", TOKEN)).address == "https://192.0.2.1:6443"
    assert read(home / "flag", "https://[fd00::1]").address == "https://[fd00::1]"


@pytest.mark.usefixtures("account")
def test_the_pods_account_is_used_without_a_word(
    temporary: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    access = read(address="https://192.0.2.9:6443")
    assert access.headers()["authorization"] == "bearer the-pods"
    assert access.verified
    assert capfd.readouterr() == ("", "")
    assert left_behind(temporary) == []


def test_no_configuration_says_where_it_was_looked_for() -> None:
    with pytest.raises(
        FeedError, match=r"^no way to an API server: no ~/\.kube/config, and no pod's"
    ):
        read()


def test_a_certificate_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    nonsense = dict.fromkeys(["client-certificate-data", "client-key-data"], "bm9uc2Vuc2U=")
    with pytest.raises(FeedError, match="no way to an API server: its certificates"):
        read(kubeconfig(tmp_path / "config", nonsense))


# ------------------------------------------------------------------------ secrets on wires


@pytest.mark.parametrize("address", ["http://192.0.2.1:8080", "http://api.example"])
def test_a_token_does_not_go_over_plain_http(tmp_path: Path, address: str) -> None:
    for given, path in (
        (address, kubeconfig(tmp_path / "secure", TOKEN)),
        (None, kubeconfig(tmp_path / "plain", TOKEN, address)),
    ):
        with pytest.raises(FeedError, match="use https"):
            read(path, given)
    assert read(kubeconfig(tmp_path / "config", {}, address)).address == address, "no secret"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"])
def test_what_stays_on_this_machine_may_be_plain(tmp_path: Path, address: str) -> None:
    access = read(kubeconfig(tmp_path / "config", TOKEN), address)
    assert access.headers()["authorization"] == "Bearer secret"


# ------------------------------------------------------------------------- what it says


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("https://127.0.0.1:1", "127.0.0.1:1: Connection refused"),
        ("http://[::1]:1", "[::1]:1: Connection refused"),
    ],
)
def test_a_server_that_is_away_is_named_without_our_classes(
    tmp_path: Path, address: str, reason: str
) -> None:
    server = ApiServer.connect(kubeconfig(tmp_path / "config", {}), address)
    with pytest.raises(ApiError) as caught:
        server.get("/version", {})
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("hang_up", "reason"),
    [(False, "Read timed out"), (True, "Connection aborted: ")],
    ids=["a server that says nothing", "a server that hangs up"],
)
def test_silence_is_named_without_our_classes(tmp_path: Path, hang_up: bool, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        path = kubeconfig(tmp_path / "config", {})
        server = ApiServer.connect(path, f"http://127.0.0.1:{port}", Patience(silence_s=0.3))
        held = []

        def take() -> None:
            line, _ = listener.accept()
            held.append(line)
            if hang_up:
                line.recv(65536)
                line.close()

        thread = threading.Thread(target=take)
        thread.start()
        with pytest.raises(ApiError) as caught:
            server.get("/version", {})
        thread.join()
        for line in held:
            line.close()
    assert reason in str(caught.value)
    assert "Pool" not in str(caught.value)
    assert "(" not in str(caught.value).removesuffix("(read timeout=0.3)")


@pytest.mark.parametrize(
    ("status", "passes"),
    [(0, True), (401, True), (429, True), (500, True), (503, True)]
    + [(status, False) for status in (400, 403, 404, 409, 410, 422)],
)
def test_which_refusals_pass(status: int, passes: bool) -> None:
    assert ApiError(status, "no").passes is passes


@pytest.mark.parametrize("content", ["{", "[]", "users: 5", "clusters: [5]", "\x00\x01", "a: [b"])
def test_what_is_no_kubeconfig_is_one_sentence(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(FeedError, match=f"^no way to an API server: {path}: "):
        ApiServer.connect(path)


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_token_file_does_not_make_us_nobody(tmp_path: Path, content: str) -> None:
    """Who writes it truncates it first."""
    token = tmp_path / "token"
    token.write_text(content)
    file = kubeconfig(tmp_path / "config", {"tokenFile": str(token)})
    with pytest.raises(FeedError, match=f"{file}: the file of its token is empty"):
        Access.read(file, None, Patience())
    token.write_text("secret\n")
    assert Access.read(file, None, Patience()).headers()["authorization"] == "Bearer secret"


def test_who_has_no_token_sends_none(tmp_path: Path, identity: dict[str, str]) -> None:
    access = Access.read(kubeconfig(tmp_path / "config", identity), None, Patience())
    assert "authorization" not in access.headers()


def test_no_error_shows_a_secret(tmp_path: Path) -> None:
    leaking = {"auth-provider": {"name": "oidc", "config": {"client-secret": "S3CRET"}}}
    path = kubeconfig(tmp_path / "config", {**leaking, "client-key-data": "U0VDUkVU"})
    with pytest.raises(FeedError) as caught:
        ApiServer.connect(path)
    assert "S3CRET" not in str(caught.value)
    assert "U0VDUkVU" not in str(caught.value)
    broken = kubeconfig(tmp_path / "broken", {"token": "S3C\nRET"}, "https://127.0.0.1:1")
    with pytest.raises(ApiError) as refused:
        ApiServer.connect(broken).get("/version", {})
    assert "S3C" not in str(refused.value)
    assert "token" in str(refused.value)
