"""The agent's server alone: who may talk to it, what it bears, and in which order it works."""

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import scratch
from client_build import build

from podwire_node.cni.calls.listener import SocketUnusable, listen
from podwire_node.cni.calls.server import _COMING_SEATS as SEATS
from podwire_node.cni.calls.server import CniServer
from podwire_node.cni.calls.wire import HEADER_BYTES, Answer, Request, encode_request

NOBODY = 65534


class SlowPlugin:
    """Notes what begins and ends, and works until it is let go."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.go = threading.Event()

    def __call__(self, request: Request, _netns: int | None, deadline: float) -> Answer:
        name = f"{request.command} {request.container}".strip()
        self.steps.append(f"{name} begins")
        if request.command != "STATUS":
            assert self.go.wait(max(0, deadline - time.monotonic()))
        self.steps.append(f"{name} ends")
        return Answer(0, name.encode())


@pytest.fixture
def plugin() -> Iterator[SlowPlugin]:
    plugin = SlowPlugin()
    yield plugin
    plugin.go.set()


@pytest.fixture
def free(tmp_path: Path) -> Path:
    """Where nobody listens."""
    return tmp_path / "run/cni.sock"


@pytest.fixture
def path(free: Path, plugin: SlowPlugin, tmp_path: Path) -> Iterator[Path]:
    """Where a server listens that works with the plugin."""
    with CniServer(free, tmp_path, plugin=plugin):
        yield free
        plugin.go.set()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everyone may go into."""
    folder = Path("/tmp", f"{scratch.PREFIX}public")
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def started(path: Path, command: str, container: str = "") -> socket.socket:
    """A call on its way; one that was hung up on before it was sent is still a call."""
    client = connected(path)
    with contextlib.suppress(BrokenPipeError):
        client.sendall(
            encode_request(Request({"CNI_COMMAND": command, "CNI_CONTAINERID": container}, b"{}"))
        )
    return client


def answered(client: socket.socket) -> tuple[int, bytes]:
    """Exit code and stdout; -1 when it hangs up without an answer."""
    with client:
        message = b""
        try:
            while piece := client.recv(1 << 16):
                message += piece
        except ConnectionResetError:
            pass
    return (int.from_bytes(message[4:8]), message[HEADER_BYTES:]) if message else (-1, b"")


def test_the_socket_is_roots_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_nobody_else_is_answered_even_where_he_can_connect(
    public: Path, plugin: SlowPlugin
) -> None:
    message = encode_request(Request({"CNI_COMMAND": "STATUS"}, b"{}"))
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.send(bytes.fromhex(sys.argv[2])); s.settimeout(10); print(len(s.recv(99)))"
    )
    path = public / "cni.sock"
    with CniServer(path, public, plugin=plugin):
        path.chmod(0o666)
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-c", code, str(path), message.hex()],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    # Hung up on, with what it said unread (a reset) or before it could say it.
    assert done.stdout.strip() in {"", "0"}, done
    assert "ConnectionResetError" in done.stderr or "BrokenPipe" in done.stderr or done.stdout, done
    assert plugin.steps == []


def test_calls_for_one_container_take_turns_and_others_do_not_wait(
    path: Path, plugin: SlowPlugin
) -> None:
    first = started(path, "ADD", "a")
    scratch.until("the ADD begins", lambda: plugin.steps == ["ADD a begins"])
    second = started(path, "DEL", "a")
    other = started(path, "ADD", "b")
    scratch.until("the other ADD begins", lambda: "ADD b begins" in plugin.steps)
    assert answered(started(path, "STATUS")) == (0, b"STATUS")
    plugin.go.set()
    assert [answered(each) for each in (first, second, other)] == [
        (0, b"ADD a"),
        (0, b"DEL a"),
        (0, b"ADD b"),
    ]
    assert plugin.steps.index("ADD a ends") < plugin.steps.index("DEL a begins")


def test_a_call_that_was_given_up_while_it_waited_never_begins(
    path: Path, plugin: SlowPlugin
) -> None:
    first = started(path, "DEL", "a")
    scratch.until("the DEL begins", lambda: plugin.steps == ["DEL a begins"])
    started(path, "ADD", "a").close()
    plugin.go.set()
    assert answered(first) == (0, b"DEL a")
    assert answered(started(path, "DEL", "a")) == (0, b"DEL a")
    assert not [step for step in plugin.steps if step.startswith("ADD")]


def test_a_bounded_number_works_at_once(path: Path, plugin: SlowPlugin) -> None:
    clients = [started(path, "ADD", f"c{number}") for number in range(SEATS + 20)]
    scratch.until("as many as may work do", lambda: len(plugin.steps) == SEATS)
    assert answered(started(path, "STATUS")) == (0, b"STATUS")
    going = started(path, "DEL", "other")
    scratch.until("a pod that goes need not wait", lambda: "DEL other begins" in plugin.steps)
    assert len([step for step in plugin.steps if step.startswith("ADD")]) == SEATS
    plugin.go.set()
    assert {answered(client)[0] for client in (*clients, going)} == {0}


def garbage() -> Iterator[bytes]:
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield os.urandom(4096)
    yield b"PWC1" + b"\xff" * 8
    yield b"PWC1" + bytes(8)
    whole = encode_request(Request({"CNI_COMMAND": "ADD"}, b"{}"))
    yield whole.replace(b"CNI_COMMAND", b"LD_PRELOAD_")
    yield whole.replace(b"ADD", b"SUB")
    yield whole.replace(b"ADD", b"VER")


def test_garbage_is_answered_with_an_error_and_harms_nobody(path: Path) -> None:
    for message in garbage():
        client = connected(path)
        client.sendall(message)
        code, stdout = answered(client)
        assert code == 1, message
        assert json.loads(stdout)["code"] in {4, 5}
    assert answered(started(path, "STATUS")) == (0, b"STATUS")


def test_clients_that_leave_early_or_bring_too_much_leave_no_descriptor(path: Path) -> None:
    whole = encode_request(Request({"CNI_COMMAND": "STATUS"}, b"{}"))
    assert answered(started(path, "STATUS")) == (0, b"STATUS")
    before = open_descriptors()
    for cut in (0, 3, HEADER_BYTES, len(whole) - 1):
        with connected(path) as client:
            socket.send_fds(client, [whole[:cut] or b"P"], [0, 1, 2])
    with connected(path) as client:
        socket.send_fds(client, [whole], [0, 1, 2])
        assert client.recv(99)
    scratch.until("all is closed", lambda: open_descriptors() <= before)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_without_a_thread_to_spare_clients_are_served_one_after_the_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", refuse)
        clients = [started(path, "STATUS") for _ in range(3)]
        assert [answered(each) for each in clients] == [(0, b"STATUS")] * 3
    assert answered(started(path, "STATUS")) == (0, b"STATUS")


def test_a_client_that_says_nothing_is_left_in_time(path: Path) -> None:
    begun = time.monotonic()
    silent, dripping = connected(path), connected(path)
    dripping.sendall(b"PWC1")
    assert [answered(each)[0] for each in (silent, dripping)] == [-1, -1]
    assert 4 < time.monotonic() - begun < 19


def test_ending_waits_for_the_call_that_runs(
    free: Path, plugin: SlowPlugin, tmp_path: Path
) -> None:
    with CniServer(free, tmp_path, plugin=plugin) as server:
        running = started(free, "ADD", "a")
        scratch.until("it runs", lambda: plugin.steps == ["ADD a begins"])
        deleting, waiting = started(free, "DEL", "a"), started(free, "CHECK", "a")
        scratch.until("all are in", lambda: server.calls == 3)
        ending = threading.Thread(target=server.close)
        ending.start()
        scratch.until("it is ending", server._ending.is_set)
        plugin.go.set()
        ending.join()
        assert answered(running) == (0, b"ADD a")
        code, stdout = answered(waiting)
        assert (code, json.loads(stdout)["code"]) == (1, 11)
        assert answered(deleting) == (-1, b""), "its client queues it"
        with socket.socket(socket.AF_UNIX) as late, pytest.raises(ConnectionRefusedError):
            late.connect(str(free))
    assert plugin.steps == ["ADD a begins", "ADD a ends"]


def test_ending_does_not_wait_for_ever(
    free: Path, plugin: SlowPlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.cni.calls.server._FAREWELL", 0.2)
    with CniServer(free, tmp_path, plugin=plugin):
        running = started(free, "ADD", "a")
        scratch.until("it runs", lambda: plugin.steps == ["ADD a begins"])
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    plugin.go.set()
    assert answered(running) == (0, b"ADD a")


def test_a_stale_socket_is_replaced_and_another_file_is_not(free: Path) -> None:
    listen(free).close()
    listen(free).close()
    free.unlink()
    free.write_text("precious")
    with pytest.raises(SocketUnusable, match="no socket"):
        listen(free)
    assert free.read_text() == "precious"


def test_a_folder_that_others_may_write_to_is_refused(free: Path) -> None:
    free.parent.mkdir()
    free.parent.chmod(0o777)
    with pytest.raises(SocketUnusable, match="go-w"):
        listen(free)


@pytest.mark.parametrize("bad", [Path("relative.sock"), Path("/tmp", "x" * 120)])
def test_a_path_that_is_no_sockets_is_refused(bad: Path) -> None:
    with pytest.raises(SocketUnusable, match="absolute"):
        listen(bad)


def test_the_client_trusts_no_other_users_socket(tmp_path: Path, public: Path) -> None:
    program, path = build(tmp_path), public / "cni.sock"
    os.chown(public, NOBODY, NOBODY)
    code = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]);"
        "s.listen(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        ["/usr/bin/python3", "-I", "-c", code, str(path)],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        done = subprocess.run(
            [program],
            input=json.dumps({"cniVersion": "1.1.0", "socket": str(path)}).encode(),
            env={"CNI_COMMAND": "STATUS", "CNI_PATH": "/"},
            capture_output=True,
            check=False,
            timeout=30,
        )
    assert json.loads(done.stdout)["code"] == 5
    assert b"another user" in done.stdout
