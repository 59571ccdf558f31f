"""A DEL without an agent: it is queued and succeeds, or it says why it cannot be.

Every call here is made by a client that AddressSanitizer and UBSan watch.
"""

import json
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from podwire_node.cni.calls.turns import Turns
from podwire_node.cni.calls.wire import Answer, Request, encode_answer, encode_request
from podwire_node.cni.queue.deletions import DeletionQueue
from podwire_node.cni.queue.queued_call import QUEUE_FILE_BYTES, QUEUE_FILES, fnv1a, read_call

from .conftest import ENVIRON, Agent, Client

MakeAgent = Callable[..., Agent]


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    """One that is not there."""
    return Agent(tmp_path / "nobody.sock", tmp_path / "podwire/cni/queue")


def queued(agent: Agent) -> list[Path]:
    return sorted(agent.queue.iterdir())


def test_without_an_agent_a_del_is_queued_and_succeeds(client: Client, agent: Agent) -> None:
    config = agent.config(name="podnet", prevResult={})
    answer = client.call("DEL", config, CNI_ARGS="K=\udcff", HOME="/root")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, b"", b"")
    (path,) = queued(agent)
    environ = {**ENVIRON, "CNI_COMMAND": "DEL", "CNI_ARGS": "K=\udcff"}
    request = read_call(path)
    assert request.stdin == config
    assert request.environ == {each: environ[each] for each in environ if each != "CNI_NETNS"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(agent.queue.stat().st_mode) == 0o700
    assert stat.S_IMODE(agent.queue.parent.parent.stat().st_mode) == 0o700


def test_the_file_holds_the_message_and_is_named_by_hashes(client: Client, agent: Agent) -> None:
    client.call("DEL", agent.config())
    (path,) = queued(agent)
    message = path.read_bytes()
    names = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH")
    environ = {**ENVIRON, "CNI_COMMAND": "DEL"}
    assert message == encode_request(
        Request({name: environ[name] for name in names}, agent.config())
    )
    container = fnv1a(ENVIRON["CNI_CONTAINERID"].encode())
    # The header is hashed first, as it is written.
    assert path.name == f"{container:016x}-{fnv1a(message):016x}.del"


@pytest.mark.parametrize(
    ("pieces", "hang_up"), [([], True), ([b"PWA1\0\0"], True), ([], False), ([b"PWA1"], False)]
)
def test_an_agent_that_gives_no_whole_answer_is_no_agent(
    hasty: Client, make_agent: MakeAgent, tmp_path: Path, pieces: list[bytes], hang_up: bool
) -> None:
    agent = make_agent(*pieces, hang_up=hang_up)
    agent.queue = tmp_path / "queue"
    assert hasty.call("DEL", agent.config()).exit_code == 0
    assert len(queued(agent)) == 1


def test_a_socket_that_nobody_listens_at_any_more_is_no_agent(client: Client, agent: Agent) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(agent.path))
    assert client.call("DEL", agent.config()).exit_code == 0
    assert len(queued(agent)) == 1


def test_what_the_agent_answers_is_never_queued(
    client: Client, make_agent: MakeAgent, tmp_path: Path
) -> None:
    error = b'{"cniVersion":"1.0.0","code":11,"msg":"later"}\n'
    agent = make_agent(encode_answer(Answer(1, error)))
    agent.queue = tmp_path / "queue"
    assert client.call("DEL", agent.config()).stdout == error
    garbage = make_agent(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    garbage.queue = tmp_path / "queue"
    assert client.call("DEL", garbage.config()).error["code"] == 5
    assert not agent.queue.exists()


@pytest.mark.parametrize("command", ["ADD", "CHECK", "GC", "STATUS"])
def test_nothing_but_del_is_queued(client: Client, agent: Agent, command: str) -> None:
    assert client.call(command, agent.config()).error["code"] in {11, 50}
    assert not agent.queue.exists()


def test_the_same_del_again_is_the_same_file(client: Client, agent: Agent) -> None:
    for container in ("abc", "abc", "def", "abc"):
        client.call("DEL", agent.config(), CNI_CONTAINERID=container)
    assert len(queued(agent)) == 2


def test_a_full_queue_is_11_and_takes_what_is_in_it_already(client: Client, agent: Agent) -> None:
    client.call("DEL", agent.config())
    for number in range(QUEUE_FILES - 2):
        (agent.queue / f"{number:016x}-{number:016x}.del").touch()
    assert client.call("DEL", agent.config(), CNI_CONTAINERID="last").exit_code == 0
    error = client.call("DEL", agent.config(), CNI_CONTAINERID="more").error
    assert error["code"] == 11
    assert "full" in error["details"]
    assert "nobody.sock" in error["msg"]
    assert client.call("DEL", agent.config()).exit_code == 0
    for number in range(2000):
        (agent.queue / f"{number}{'x' * 200}").touch()
    assert client.call("DEL", agent.config(), CNI_CONTAINERID="more").error["code"] == 11


def test_the_largest_call_fits_and_a_larger_one_is_11(client: Client, agent: Agent) -> None:
    environ = {**ENVIRON, "CNI_COMMAND": "DEL"}
    room = QUEUE_FILE_BYTES - len(encode_request(Request(environ, b"")))
    assert client.call("DEL", agent.config().ljust(room)).exit_code == 0
    assert client.call("DEL", agent.config().ljust(room + 1)).error["code"] == 11
    assert len(queued(agent)) == 1
    assert read_call(queued(agent)[0]).stdin == agent.config().ljust(room)


def unusable(path: Path, what: str) -> None:
    path.parent.mkdir(parents=True)
    if what == "file":
        path.touch()
    elif what == "link":
        (path.parent / "other").mkdir()
        path.symlink_to(path.parent / "other")
    else:
        path.mkdir()
        if what == "another user's":
            os.chown(path, 65534, 65534)
        else:
            path.chmod(0o770 if what == "its group's" else 0o707)


@pytest.mark.parametrize("what", ["file", "link", "another user's", "its group's", "everyone's"])
def test_a_folder_that_is_not_roots_alone_is_not_used(
    client: Client, agent: Agent, what: str
) -> None:
    unusable(agent.queue, what)
    error = client.call("DEL", agent.config()).error
    assert error["code"] == 11
    assert error["details"]
    assert not agent.queue.is_dir() or queued(agent) == []


@pytest.mark.parametrize("value", [5, "", "relative/queue", "/" + "x" * 300, "/a\nb"])
def test_a_queue_that_is_no_path_is_7(client: Client, agent: Agent, value: object) -> None:
    error = client.call("DEL", agent.config(queueDir=value)).error
    assert (error["code"], error["msg"][:9]) == (7, "queueDir:")


def test_fifty_at_once_are_all_queued_and_done_by_the_agent_that_comes(
    client: Client, agent: Agent
) -> None:
    processes = []
    for number in range(50):
        environ = {**ENVIRON, "CNI_COMMAND": "DEL", "CNI_CONTAINERID": f"c{number}"}
        process = subprocess.Popen([client.program], stdin=subprocess.PIPE, env=environ)
        assert process.stdin is not None
        process.stdin.write(agent.config())
        process.stdin.close()
        processes.append(process)
    assert {process.wait(30) for process in processes} == {0}
    done: list[str] = []

    def plugin(request: Request, _netns: int | None, _deadline: float) -> Answer:
        done.append(request.container)
        return Answer(0)

    assert DeletionQueue(agent.queue, plugin).replay(Turns(4), time.monotonic() + 30) == 0
    assert sorted(done) == sorted(f"c{number}" for number in range(50))


def test_a_client_killed_at_any_moment_leaves_a_whole_call_or_none(
    client: Client, agent: Agent
) -> None:
    for number in range(30):
        environ = {**ENVIRON, "CNI_COMMAND": "DEL", "CNI_CONTAINERID": f"c{number}"}
        with subprocess.Popen(
            [client.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ
        ) as process:
            assert process.stdin is not None
            process.stdin.write(agent.config().ljust(60_000))
            process.stdin.close()
            # It waits 200 ms for an agent, and then writes for some.
            try:
                process.wait(0.195 + number / 2000)
            except subprocess.TimeoutExpired:
                process.kill()
    for path in agent.queue.glob("*.del") if agent.queue.exists() else ():
        assert len(read_call(path).stdin) == 60_000


def test_the_error_is_one_json_document_whatever_the_folders_name(
    client: Client, tmp_path: Path
) -> None:
    folder = tmp_path / 'a"b\\' / ("x" * 100)
    folder.parent.mkdir()
    folder.touch()
    error = client.call("DEL", Agent(tmp_path / "nobody.sock", folder).config()).error
    assert error["code"] == 11
    assert json.dumps(error)
