"""The control socket: for root alone, one line in, lines out, and nobody holds anybody up."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import pytest

from podwire_node.control import client as client_module
from podwire_node.control import server
from podwire_node.control.client import AgentClient
from podwire_node.control.errands import Errands
from podwire_node.control.errors import ControlError
from podwire_node.control.request import MAX_REQUEST_BYTES, Request
from podwire_node.control.server import MAX_CLIENTS, Control


def echo(request: Request) -> Iterator[Mapping[str, object]]:
    yield dict(request.fields)


def endless(_request: Request) -> Iterator[Mapping[str, object] | None]:
    yield {"number": 0}
    bell = os.eventfd(0)  # which nobody rings
    try:
        yield None
        _request.wait(bell)
    finally:
        os.close(bell)


def flood(_request: Request) -> Iterator[Mapping[str, object]]:
    for number in itertools.count():
        yield {"number": number, "ballast": "x" * 1000}


def faulty(_request: Request) -> Iterator[Mapping[str, object]]:
    yield {"number": 1}
    raise RuntimeError("a bug")


def refusing(_request: Request) -> Iterator[Mapping[str, object]]:
    raise ControlError("there is no such pod")


VERBS = {each.__name__: each for each in (echo, endless, flood, faulty, refusing)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control/agent.sock"


@pytest.fixture
def control(path: Path) -> Iterator[Control]:
    with closing(Control(path, VERBS)) as made:
        yield made


@pytest.fixture
def client(path: Path, control: Control) -> AgentClient:  # noqa: ARG001 - there has to be one
    return AgentClient(path)


def until(fact: str, holds: object, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]  # any function
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(0.01)


def raw(path: Path, sent: bytes) -> list[object]:
    """What the agent says to some bytes, until it hangs up."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(20)
        talk.connect(str(path))
        talk.sendall(sent)
        talk.shutdown(socket.SHUT_WR)
        data = b"".join(iter(lambda: talk.recv(65536), b""))
    return [msgspec.json.decode(line) for line in data.splitlines()]


def test_an_answer_is_what_the_verb_said(client: AgentClient) -> None:
    assert client.one("echo", {"last": 3, "text": "ü\n"}) == {"last": 3, "text": "ü\n"}


def test_socket_and_folder_are_for_root_alone(path: Path, control: Control) -> None:  # noqa: ARG001 - same
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_a_verb_refuses_is_its_sentence(client: AgentClient) -> None:
    with pytest.raises(ControlError, match=r"^there is no such pod$"):
        client.one("refusing")


def test_an_unknown_verb_is_answered_with_those_there_are(client: AgentClient) -> None:
    with pytest.raises(ControlError, match="no verb 'open'; this agent knows echo, endless"):
        client.one("open")


def test_a_fault_of_a_verb_ends_its_answer_and_nothing_else(client: AgentClient) -> None:
    answers = client.ask("faulty")
    assert next(answers) == {"number": 1}
    with pytest.raises(ControlError, match="a fault of its own"):
        next(answers)
    assert client.one("echo") == {}


@pytest.mark.parametrize(
    "sent",
    [
        *(b"", b"\n", b"{", b"[1]\n", b'"observe"\n', b"{}\n", b'{"verb": 1}\n', b"[" * 9999),
        *(b"\xff\n", b'{"verb": "\xff\xfe"}\n', b'{"\xff": 1}\n', b'{"verb": "\\ud800"}\n'),
    ],
)
def test_what_is_no_request_is_one_error(path: Path, control: Control, sent: bytes) -> None:  # noqa: ARG001 - same
    (answer,) = raw(path, sent)
    assert isinstance(answer, dict)
    assert list(answer) == ["error"]


def test_a_request_has_a_bound(client: AgentClient) -> None:
    with pytest.raises(ControlError, match="longer than 4 MiB"):
        client.one("echo", {"text": "x" * MAX_REQUEST_BYTES})
    assert client.one("echo") == {}


def test_who_is_told_of_the_bound_hears_it_whatever_it_has_sent_beyond(
    path: Path,
    control: Control,  # noqa: ARG001 - same
) -> None:
    """What the agent leaves unread would reset the connection, and its sentence with it."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(20)
        talk.connect(str(path))
        with pytest.raises(BrokenPipeError):
            talk.sendall(b"x" * (3 * MAX_REQUEST_BYTES))
        assert b"longer than 4 MiB" in talk.recv(65536)
        assert talk.recv(1) == b"", "an end, and no reset"


def test_who_finds_no_room_hears_it_whatever_it_has_sent(path: Path) -> None:
    ours, theirs = socket.socketpair()
    with closing(Control(path, VERBS)) as control, ours:
        ours.sendall(b'{"verb": "echo"}\n' * 1000)
        control._refuse(theirs, "no room")
        ours.settimeout(20)
        assert b"no room" in ours.recv(65536)
        assert ours.recv(1) == b"", "an end, and no reset"


def test_a_client_that_goes_ends_its_stream(client: AgentClient, control: Control) -> None:
    answers = client.ask("endless", stream=True)
    assert next(answers) == {"number": 0}
    assert control.clients == 1
    answers.close()  # type: ignore[attr-defined]  # it is a generator
    until("its thread ended", lambda: control.clients == 0)


def test_of_a_hundred_clients_sixteen_are_answered_and_the_others_told_why(
    path: Path, control: Control
) -> None:
    told, streams = [], []
    for _ in range(100):
        answers = AgentClient(path).ask("endless", stream=True)
        try:
            next(answers)
            streams.append(answers)
        except ControlError as error:
            told.append(str(error))
    assert len(streams) == control.clients == MAX_CLIENTS
    assert len(told) == 100 - MAX_CLIENTS
    assert set(told) == {"the agent answers 16 clients already: ask later"}
    for each in streams:
        each.close()  # type: ignore[attr-defined]  # it is a generator
    until("there is room again", lambda: control.clients == 0)
    assert AgentClient(path).one("echo") == {}


def test_a_hundred_clients_at_once_each_get_an_answer_or_a_reason(client: AgentClient) -> None:
    answered: list[object] = []

    def ask() -> None:
        try:
            answered.append(client.one("echo", {"x": 1}))
        except ControlError as error:
            answered.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answered) == 100
    reason = "the agent answers 16 clients already: ask later"
    assert all(each in ({"x": 1}, reason) for each in answered)
    assert {"x": 1} in answered


def test_a_client_that_reads_nothing_is_left(
    path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SECONDS", 2.0)
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(path))
        slow.sendall(b'{"verb": "flood"}\n')
        slow.recv(1)  # it is served
        assert AgentClient(path).one("echo") == {}, "nobody waits for it"
        until("it was left", lambda: control.clients == 0)


def test_a_client_that_says_nothing_is_left(
    path: Path, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SECONDS", 0.3)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.settimeout(20)
        mute.connect(str(path))
        assert mute.recv(1) == b"", "it was left"
    until("its thread ended", lambda: control.clients == 0)


def test_ending_ends_streams_and_takes_the_socket_away(path: Path) -> None:
    control = Control(path, VERBS)
    answers = AgentClient(path).ask("endless", stream=True)
    next(answers)
    began = time.monotonic()
    control.close()
    assert time.monotonic() - began < 5
    assert not path.exists()
    with pytest.raises(ControlError, match="ended before its answer did"):
        next(answers)


def test_ending_leaves_the_socket_of_a_newer_agent(path: Path) -> None:
    with ExitStack() as stack:
        older = Control(path, VERBS)
        stack.enter_context(closing(Control(path, VERBS)))
        older.close()
        assert AgentClient(path).one("echo") == {}


def test_where_no_agent_is_the_command_says_what_to_do(path: Path) -> None:
    with pytest.raises(ControlError, match=r"agent\.sock: no agent listens here: run one"):
        AgentClient(path).one("echo")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(ControlError, match="has ended: start it again"):
        AgentClient(path).one("echo")


def test_an_errand_is_done_in_the_loop_and_answers_the_asker() -> None:
    errands = Errands()
    ((_, hear),) = errands.watched()
    found: list[object] = []

    def ask() -> None:
        found.append(errands.ask(threading.get_ident))
        try:
            errands.ask(lambda: 1 // 0)
        except ZeroDivisionError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    until("both are done", lambda: (hear(), len(found) == 2)[1])
    thread.join()
    assert found[0] == threading.get_ident()
    errands.close()
    with pytest.raises(ControlError, match="ending"):
        errands.ask(threading.get_ident)


def test_who_waits_when_the_loop_ends_is_told() -> None:
    errands, told = Errands(), []

    def ask() -> None:
        try:
            errands.ask(threading.get_ident)
        except ControlError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until("it asked", lambda: errands._waiting)
    errands.close()
    thread.join(5)
    assert told == ["the agent is ending"]


def gives_up(errands: Errands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask what nobody answers, and wait no longer."""
    monkeypatch.setattr("podwire_node.control.errands.PATIENCE_S", 0.05)
    with pytest.raises(ControlError, match="the agent has been busy"):
        errands.ask(threading.get_ident)


def test_who_gave_up_waiting_is_no_matter_when_the_loop_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    errands = Errands()
    gives_up(errands, monkeypatch)
    errands.close()


def test_who_gave_up_waiting_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Errands()) as errands:
        ((_, hear),) = errands.watched()
        gives_up(errands, monkeypatch)
        hear()
        assert not errands._waiting


def test_a_time_out_of_the_question_itself_is_not_the_loops() -> None:
    errands, told = Errands(), []
    ((_, hear),) = errands.watched()

    def late() -> None:
        raise TimeoutError("the disk is slow")

    def ask() -> None:
        try:
            errands.ask(late)
        except TimeoutError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    until("it is told", lambda: (hear(), told)[1])
    thread.join(5)
    errands.close()
    assert told == ["the disk is slow"]


def test_an_agent_that_was_stopped_is_told_and_not_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_HEARD_S", 0.2)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as stopped:  # it listens, and never looks
        stopped.bind(str(path))
        stopped.listen(1)  # so that two may wait
        who = rf"the agent \(process {os.getpid()}\) listens but does not answer: it was stopped"
        with pytest.raises(ControlError, match=who):
            AgentClient(path).one("echo")
        with pytest.raises(ControlError, match=who):  # a stream, too
            next(AgentClient(path).ask("endless", stream=True))
        with pytest.raises(ControlError, match="the agent listens but does not answer"):
            AgentClient(path).one("echo")


def test_a_verb_that_takes_longer_than_an_agent_to_hear_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_HEARD_S", 2.0)

    def slow(_request: Request) -> Iterator[Mapping[str, object]]:
        time.sleep(2.5)
        yield {"done": True}

    with closing(Control(path, {"slow": slow})):
        assert AgentClient(path).one("slow") == {"done": True}


def test_what_the_kernel_refuses_a_verb_is_an_answer(path: Path) -> None:
    def starved(_request: Request) -> Iterator[Mapping[str, object]]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with (
        closing(Control(path, {"starved": starved})),
        pytest.raises(ControlError, match="the agent cannot look: Too many open files"),
    ):
        AgentClient(path).one("starved")
