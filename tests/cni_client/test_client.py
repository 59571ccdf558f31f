"""The CNI client alone: what it answers itself, what it sends, and agents that misbehave.

Every call here is made by a client that AddressSanitizer and UBSan watch.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import pytest
from client_build import build
from scratch import until

from podwire_cni.spec import SUPPORTED_VERSIONS
from podwire_node.cni.calls.wire import (
    HEADER_BYTES,
    STDIN_BYTES,
    Answer,
    decode_request,
    encode_answer,
)

from .conftest import ENVIRON, Agent, Client

MakeAgent = Callable[..., Agent]


def test_version_needs_no_agent(client: Client) -> None:
    answer = client.call("VERSION", b'{"cniVersion":"0.4.0"}', {})
    assert (answer.exit_code, answer.stderr) == (0, b"")
    assert json.loads(answer.stdout) == {
        "cniVersion": "0.4.0",
        "supportedVersions": list(SUPPORTED_VERSIONS),
    }


def test_version_answers_a_caller_who_keeps_stdin_open(client: Client) -> None:
    with subprocess.Popen(
        [client.program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"CNI_COMMAND": "VERSION"},
    ) as process:
        assert process.stdout is not None
        assert b"supportedVersions" in process.stdout.read()


def test_a_person_is_told_what_it_is(client: Client) -> None:
    answer = client.call("", b"", {})
    assert (answer.exit_code, answer.stdout) == (0, b"")
    assert b"podwire agent" in answer.stderr


@pytest.mark.parametrize(
    ("command", "environ", "message"),
    [
        ("SUB", ENVIRON, "unknown CNI_COMMAND: SUB"),
        ('A"\\\n\xff' * 40, ENVIRON, "unknown CNI_COMMAND: A"),
        ("ADD", {}, "[CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing"),
        ("ADD", {**ENVIRON, "CNI_NETNS": ""}, "[CNI_NETNS] missing"),
        ("DEL", {"CNI_PATH": "/"}, "[CNI_CONTAINERID,CNI_IFNAME] missing"),
        ("STATUS", {}, "[CNI_PATH] missing"),
        ("ADD", {**ENVIRON, "CNI_ARGS": "x" * 70_000}, "CNI_ARGS: the CNI variables together"),
    ],
)
def test_a_bad_environment_is_4(
    client: Client, command: str, environ: dict[str, str], message: str
) -> None:
    error = client.call(command, b"{}", environ).error
    assert error["code"] == 4
    assert message in error["msg"]


def test_what_the_agent_gets_is_the_call_and_nothing_else(
    client: Client, make_agent: MakeAgent
) -> None:
    agent = make_agent(encode_answer(Answer(0, b'{"ips":[]}\n')))
    config = agent.config(name="podnet")
    answer = client.call("ADD", config, CNI_ARGS="K=\udcff", CNI_NETNS_OVERRIDE="1", HOME="/root")
    assert answer == type(answer)(0, b'{"ips":[]}\n', b"")
    (message,) = agent.heard
    body = message[HEADER_BYTES:]
    request = decode_request(body[: -len(config)], body[-len(config) :])
    assert request.stdin == config
    assert request.environ == {**ENVIRON, "CNI_COMMAND": "ADD", "CNI_ARGS": "K=\udcff"}
    assert agent.descriptors == [str(Path("/proc/self/ns/net").readlink())]


def test_exit_code_and_stdout_are_the_agents(client: Client, make_agent: MakeAgent) -> None:
    error = b'{"cniVersion":"1.0.0","code":100,"msg":"no address left"}\n'
    agent = make_agent(encode_answer(Answer(1, error)))
    assert client.call("ADD", agent.config()).stdout == error


def test_a_namespace_that_is_gone_stops_add_and_not_del(
    client: Client, make_agent: MakeAgent, tmp_path: Path
) -> None:
    agent = make_agent(encode_answer(Answer(0)))
    gone = {**ENVIRON, "CNI_NETNS": str(tmp_path / "gone")}
    assert client.call("ADD", agent.config(), gone).error["code"] == 8
    assert client.call("DEL", agent.config(), gone).exit_code == 0
    assert agent.descriptors == []


def test_a_fifo_as_namespace_does_not_hang(
    client: Client, make_agent: MakeAgent, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    agent = make_agent(encode_answer(Answer(0)))
    fifo = {**ENVIRON, "CNI_NETNS": str(tmp_path / "fifo")}
    assert client.call("DEL", agent.config(), fifo).exit_code == 0


def test_the_largest_configuration_passes_and_a_larger_one_is_6(
    client: Client, make_agent: MakeAgent
) -> None:
    agent = make_agent(encode_answer(Answer(0)))
    config = agent.config()
    assert client.call("DEL", config.ljust(STDIN_BYTES)).exit_code == 0
    assert len(agent.heard[0]) > STDIN_BYTES
    assert client.call("DEL", config.ljust(STDIN_BYTES + 1)).error["code"] == 6
    assert len(agent.heard) == 1


def test_stdin_that_never_ends_is_5(hasty: Client) -> None:
    with subprocess.Popen(
        [hasty.program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**ENVIRON, "CNI_COMMAND": "DEL"},
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["code"] == 5


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_descriptor_that_the_caller_closed_becomes_no_other_file(
    client: Client, make_agent: MakeAgent, closed: int
) -> None:
    agent = make_agent(encode_answer(Answer(0, b"{}\n")))
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$0" {closed}>&-', str(client.program)],
        input=agent.config(),
        env={**ENVIRON, "CNI_COMMAND": "ADD"},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert done.stdout == {0: done.stdout, 1: b"", 2: b"{}\n"}[closed]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("command", "code"), [("ADD", 11), ("CHECK", 11), ("DEL", 11), ("GC", 11), ("STATUS", 50)]
)
def test_without_an_agent_each_command_has_its_code(
    client: Client, tmp_path: Path, command: str, code: int
) -> None:
    config = Agent(tmp_path / "nobody.sock").config()
    error = client.call(command, config).error
    assert (error["code"], error["cniVersion"]) == (code, "1.0.0")
    assert "nobody.sock" in error["msg"]


def test_an_agent_that_died_is_no_agent(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert client.call("DEL", Agent(path).config()).error["code"] == 11


def test_add_waits_for_an_agent_that_restarts(tmp_path: Path, make_agent: MakeAgent) -> None:
    program = build(tmp_path, CFLAGS="-DPODWIRE_CONNECT_MS=20000")
    agent = make_agent(encode_answer(Answer(0, b"late\n")))
    path = agent.path.with_name("later.sock")
    with (
        _pipe() as (stdin, runtime),
        subprocess.Popen(
            [program],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={**ENVIRON, "CNI_COMMAND": "ADD"},
        ) as process,
    ):
        runtime.write(Agent(path).config())
        runtime.close()
        until("it sleeps", lambda: _unread(stdin) == 0 and _sleeps(process.pid))
        # It has read all there was, so it can only sleep because it has found nobody.
        agent.path.rename(path)
        assert process.stdout is not None
        assert process.stdout.read() == b"late\n"


def test_all_waits_of_a_call_have_one_deadline(tmp_path: Path, make_agent: MakeAgent) -> None:
    deadlines = "-DPODWIRE_STDIN_MS=6000 -DPODWIRE_ANSWER_MS=7000"
    program = build(tmp_path, CFLAGS=deadlines)
    agent = make_agent(hang_up=False)
    begun = time.monotonic()
    with subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**ENVIRON, "CNI_COMMAND": "DEL"},
    ) as process:
        time.sleep(3)  # a runtime that writes late
        output, _ = process.communicate(agent.config())
    assert json.loads(output)["code"] == 11
    assert len(agent.heard) == 1
    assert time.monotonic() - begun < 9.5  # not 3 and then 7


def test_a_stdout_that_takes_no_more_for_now_gets_the_whole_answer(
    client: Client, make_agent: MakeAgent
) -> None:
    text = b"x" * (1 << 20)
    agent = make_agent(encode_answer(Answer(0, text)))
    with _pipe() as (reading, writing), _pipe() as (stdin, runtime):
        os.set_blocking(writing.fileno(), False)
        with subprocess.Popen(
            [client.program],
            stdin=stdin,
            stdout=writing,
            env={**ENVIRON, "CNI_COMMAND": "ADD"},
        ) as process:
            writing.close()
            runtime.write(agent.config())
            runtime.close()
            until("the pipe is full", lambda: _unread(reading) >= 1 << 16, 10)
            assert reading.readall() == text
        assert process.returncode == 0


def test_a_stdout_that_nobody_reads_is_left_in_time(hasty: Client, make_agent: MakeAgent) -> None:
    agent = make_agent(encode_answer(Answer(0, b"x" * (1 << 20))))
    with _pipe() as (_, writing):
        done = subprocess.run(
            [hasty.program],
            input=agent.config(),
            stdout=writing,
            env={**ENVIRON, "CNI_COMMAND": "ADD"},
            check=False,
            timeout=30,
        )
    assert done.returncode == 1


@contextmanager
def _pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Its two ends, the second for writing."""
    reading, writing = os.pipe()
    with FileIO(reading, "r") as first, FileIO(writing, "w") as second:
        yield first, second


def _unread(pipe: FileIO) -> int:
    """Bytes that are in a pipe."""
    count = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def _sleeps(pid: int) -> bool:
    """proc(5): the state stands behind the name, S is waiting for something."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([], 11),
        ([b"PWA1\0\0"], 11),
        ([b"PWA1\0\0\0\0\0\0\0\x09half"], 11),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], 5),
        ([b"PWA1\0\0\0\0\xff\xff\xff\xff"], 5),
        ([b"PWA1\0\0\x01\x00\0\0\0\0"], 5),
        ([b"PWA1\0\0\0\0\0\x10\0\x01" + bytes(STDIN_BYTES + 1)], 5),
        ([b"\0" * 4096], 5),
    ],
)
def test_an_answer_that_is_none_is_an_error_and_nothing_of_it_is_printed(
    client: Client, make_agent: MakeAgent, pieces: list[bytes], code: int
) -> None:
    agent = make_agent(*pieces)
    error = client.call("ADD", agent.config()).error
    assert (error["code"], error["cniVersion"]) == (code, "1.0.0")


def test_the_largest_answer_passes(client: Client, make_agent: MakeAgent) -> None:
    text = b"x" * (1 << 20)
    agent = make_agent(encode_answer(Answer(0, text)))
    assert client.call("ADD", agent.config()).stdout == text


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("STATUS", 50)])
@pytest.mark.parametrize("reads", [True, False])
def test_an_agent_that_never_answers_is_left_in_time(
    hasty: Client, make_agent: MakeAgent, command: str, code: int, reads: bool
) -> None:
    agent = make_agent(hang_up=False, reads=reads)
    begun = time.monotonic()
    error = hasty.call(command, agent.config(padding="x" * 900_000)).error
    assert error["code"] == code
    assert "no answer within" in error["msg"]
    assert time.monotonic() - begun < 10


def test_an_agent_that_refuses_to_read_on_is_still_heard(
    client: Client, make_agent: MakeAgent
) -> None:
    agent = make_agent(encode_answer(Answer(1, b"{}\n")), reads=False)
    answer = client.call("ADD", agent.config(padding="x" * 900_000))
    assert (answer.exit_code, answer.stdout) == (1, b"{}\n")


@pytest.mark.parametrize(
    "socket_key",
    [5, "", "relative.sock", "/" + "x" * 200, "/a\nb", "/a\u0000b", {"socket": "/x"}, ["/x"]],
)
def test_a_socket_that_is_no_path_is_7(client: Client, socket_key: object) -> None:
    config = json.dumps({"cniVersion": "1.0.0", "socket": socket_key}).encode()
    error = client.call("DEL", config).error
    assert (error["code"], error["msg"][:7]) == (7, "socket:")


@pytest.mark.parametrize(
    ("spelling", "found"),
    [
        ('{"socket":"%s"}', True),
        (' \n{ "a" : {"socket":"/no"}, "b":["socket","/no"], "socket"\t:\n"%s" }', True),
        ('{"socket":"/no","socket":"%s"}', True),
        ('{"a":"}\\"{","socket":"%s"', True),
        ('{"socket":null}', False),
        ('{"a":"socket","b":{"socket":"%s"}}', False),
        ('["socket",":","%s"]', False),
        ('{"SOCKET":"%s"}', False),
        ("", False),
    ],
)
def test_the_socket_is_a_member_of_the_outermost_object(
    client: Client, make_agent: MakeAgent, spelling: str, found: bool
) -> None:
    agent = make_agent(encode_answer(Answer(0)))
    config = spelling.replace("%s", str(agent.path).replace("/", "\\/"))
    client.call("DEL", config.encode())
    assert bool(agent.heard) == found


def test_no_garbage_on_stdin_breaks_it(client: Client) -> None:
    # Prefixes and damaged copies of a configuration, so that every state of the search ends
    # early once.
    whole = b'{"cniVersion":"1.0.0","socket":"/nowhere\\/at\\\\all","a":[{"b":"\\""},null]}'
    damaged = [whole[:cut] for cut in range(0, len(whole), 3)]
    damaged += [
        whole[:cut] + byte + whole[cut + 1 :]
        for cut in range(0, len(whole), 9)
        for byte in (b'"', b"\\", b"{", b"}", b"\0", b"\xff")
    ]
    for stdin in [*damaged, b"[" * 100_000, b'{"' * 50_000, os.urandom(5000)]:
        answer = client.call("STATUS", stdin)
        assert answer.error["code"] in {7, 50}, stdin


def test_a_version_that_is_none_is_not_repeated(client: Client) -> None:
    for version in ('1.0.0","code":0,"x":"', "9" * 40, "", "einsnull"):
        config = json.dumps({"cniVersion": version, "socket": "/nowhere"}).encode()
        assert client.call("STATUS", config).error["cniVersion"] == "1.1.0"


def test_the_installed_build_is_static_and_small(tmp_path: Path) -> None:
    program = build(tmp_path)
    assert program.stat().st_size < 1_000_000
    answer = Client(program).call("VERSION", b"", {})
    assert answer.exit_code == 0
    assert (
        b"INTERP"
        not in subprocess.run(["readelf", "-lW", program], capture_output=True, check=True).stdout
    )
