"""DELs that waited for an agent: each is done once, in its turn, and none is lost."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scratch import until

from podwire_node.cni.calls.refusal import Refusal
from podwire_node.cni.calls.turns import Turns
from podwire_node.cni.calls.wire import Answer, Request, encode_request
from podwire_node.cni.queue.deletions import DeletionQueue
from podwire_node.cni.queue.queue_keeper import QueueKeeper
from podwire_node.cni.queue.queued_call import (
    QUEUE_FILE_BYTES,
    QUEUE_FILES,
    QUEUE_PATH_BYTES,
    fnv1a,
)

CLIENT = Path(__file__).parents[4] / "cni-plugin/client"


class Runs:
    """A plugin that notes what it is asked, and answers what it is told to."""

    def __init__(self) -> None:
        self.done: list[Request] = []
        self.answer: Callable[[], Answer] = lambda: Answer(0)

    def __call__(self, request: Request, netns: int | None, _deadline: float) -> Answer:
        assert netns is None
        self.done.append(request)
        return self.answer()

    @property
    def containers(self) -> list[str]:
        return [request.container for request in self.done]


@pytest.fixture
def plugin() -> Runs:
    return Runs()


@pytest.fixture
def queue(tmp_path: Path, plugin: Runs) -> DeletionQueue:
    queue = DeletionQueue(tmp_path / "queue", plugin)
    queue.prepare()
    return queue


def put(queue: DeletionQueue, container: str, content: bytes | None = None, age: float = 0) -> Path:
    """A queued DEL, so many seconds ago."""
    environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": container, "CNI_NETNS": "/proc/7/ns/net"}
    message = encode_request(Request(environ, b"{}")) if content is None else content
    path = queue.folder / f"{fnv1a(container.encode()):016x}-{fnv1a(message):016x}.del"
    beside = path.with_suffix(".tmp")  # as a client does it: the agent may be waiting for it
    beside.write_bytes(message)
    moment = time.time() - age
    os.utime(beside, (moment, moment))
    return beside.rename(path)


def soon() -> float:
    return time.monotonic() + 30


def error(code: int) -> Callable[[], Answer]:
    return lambda: Answer(1, f'{{"code": {code}, "msg": "no"}}'.encode())


def test_the_oldest_comes_first_and_nothing_is_left(queue: DeletionQueue, plugin: Runs) -> None:
    for name, age in (("b", 20), ("a", 10), ("c", 30)):
        put(queue, name, age=age)
    assert queue.replay(Turns(4), soon()) == 0
    assert plugin.containers == ["c", "b", "a"]
    assert list(queue.folder.iterdir()) == []
    assert queue.replay(Turns(4), soon()) == 0


def test_a_replayed_del_enters_no_namespace(queue: DeletionQueue, plugin: Runs) -> None:
    put(queue, "a")
    queue.replay(Turns(4), soon())
    assert plugin.done == [Request({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a"}, b"{}")]


def test_an_add_finds_the_dels_of_its_container_and_leaves_the_others(
    queue: DeletionQueue, plugin: Runs
) -> None:
    put(queue, "a")
    other = put(queue, "b")
    queue.settle("a", soon())
    assert plugin.containers == ["a"]
    assert list(queue.folder.iterdir()) == [other]


def test_an_add_is_refused_while_a_del_of_its_container_fails(
    queue: DeletionQueue, plugin: Runs
) -> None:
    path = put(queue, "a")
    plugin.answer = error(103)
    with pytest.raises(Refusal) as refused:
        queue.settle("a", soon())
    assert refused.value.code == 11
    assert path.exists()
    plugin.answer = lambda: Answer(0)
    queue.settle("a", soon())
    assert not path.exists()


@pytest.mark.parametrize("code", [1, 4, 6, 7])
def test_what_can_never_succeed_is_given_up_and_told(
    queue: DeletionQueue, plugin: Runs, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(queue, "a")
    plugin.answer = error(code)
    assert queue.replay(Turns(4), soon()) == 0
    assert not path.exists()
    (record,) = caplog.records
    assert str(path) in record.getMessage()


def test_a_replay_begins_nothing_after_its_deadline(queue: DeletionQueue, plugin: Runs) -> None:
    for name in ("a", "b", "c"):
        put(queue, name)
    assert queue.replay(Turns(4), time.monotonic()) == 3
    assert (plugin.done, len(list(queue.folder.iterdir()))) == ([], 3)


def test_a_keeper_without_a_thread_is_an_error_of_the_system(
    queue: DeletionQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(OSError, match="can't start new thread"), QueueKeeper(queue, Turns(4)):
        pass


def test_what_may_yet_succeed_is_tried_a_bounded_number_of_times(
    queue: DeletionQueue, plugin: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    put(queue, "a")
    plugin.answer = error(11)
    left = [queue.replay(Turns(4), soon()) for _ in range(25)]
    assert left == [1] * 19 + [0] * 6
    assert len(plugin.done) == 20
    assert "attempt 20" in caplog.text


def test_a_refusal_counts_as_an_attempt(queue: DeletionQueue, plugin: Runs) -> None:
    def refuse() -> Answer:
        raise Refusal(11, "not now")

    put(queue, "a")
    plugin.answer = refuse
    assert queue.replay(Turns(4), soon()) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PWC1",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PWC1" + b"\xff" * 8,
        b"PWC1" + bytes(8) + b"more",
        encode_request(Request({"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "a"}, b"{}"))[:-1],
        encode_request(Request({"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "a"}, b"{}")),
        encode_request(Request({}, b"{}")),
        encode_request(Request({"CNI_COMMAND": "DEL"}, b"{}".ljust(QUEUE_FILE_BYTES))),
    ],
)
def test_a_file_that_is_no_del_is_removed_with_one_line_and_stops_nobody(
    queue: DeletionQueue, plugin: Runs, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = put(queue, "bad", content, age=60)
    put(queue, "good")
    assert queue.replay(Turns(4), soon()) == 0
    assert plugin.containers == ["good"]
    assert not path.exists()
    assert len(caplog.records) == 1


def test_links_fifos_and_folders_are_not_followed(
    queue: DeletionQueue, plugin: Runs, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(put(queue, "a").read_bytes())
    (queue.folder / "link.del").symlink_to(tmp_path / "secret")
    os.mkfifo(queue.folder / "fifo.del")
    (queue.folder / "folder.del").mkdir()
    assert queue.replay(Turns(4), soon()) == 0
    assert plugin.containers == ["a"]
    assert [path.name for path in queue.folder.iterdir()] == ["folder.del"]


def test_temporary_files_of_clients_that_live_are_left_alone(queue: DeletionQueue) -> None:
    young, old = queue.folder / ".7-1.tmp", queue.folder / ".8-1.tmp"
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    queue.prepare()
    assert queue.replay(Turns(4), soon()) == 0
    assert (young.exists(), old.exists()) == (True, False)


def test_a_del_waits_for_the_call_of_its_container_that_runs(
    queue: DeletionQueue, plugin: Runs
) -> None:
    put(queue, "a")
    turns = Turns(4)
    with turns.taken("a", soon()):
        assert queue.replay(turns, time.monotonic() + 0.05) == 1
        assert plugin.done == []
    assert queue.replay(turns, soon()) == 0


def test_two_agents_never_work_at_a_del_at_once(queue: DeletionQueue, plugin: Runs) -> None:
    put(queue, "a")
    descriptor = os.open(queue.folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert queue.replay(Turns(4), time.monotonic() + 0.05) == 1
        with pytest.raises(Refusal):
            queue.settle("a", time.monotonic() + 0.05)
    finally:
        os.close(descriptor)
    assert plugin.done == []
    queue.settle("a", soon())
    assert plugin.containers == ["a"]


def test_many_threads_do_each_del_once(queue: DeletionQueue, plugin: Runs) -> None:
    for number in range(40):
        put(queue, f"c{number}")
    turns = Turns(4)
    threads = [threading.Thread(target=queue.replay, args=(turns, soon())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(plugin.containers) == sorted(f"c{number}" for number in range(40))


def test_without_a_folder_nothing_waits(tmp_path: Path, plugin: Runs) -> None:
    queue = DeletionQueue(tmp_path / "nowhere/queue", plugin)
    queue.settle("a", soon())
    assert queue.replay(Turns(4), soon()) == 0
    queue.prepare()
    assert queue.folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, plugin: Runs) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue").chmod(0o777)
    with pytest.raises(PermissionError, match="go-w"):
        DeletionQueue(tmp_path / "queue", plugin).prepare()


def test_what_waits_is_done_before_anyone_is_served_and_what_comes_later_at_once(
    queue: DeletionQueue, plugin: Runs
) -> None:
    put(queue, "early")
    with QueueKeeper(queue, Turns(4)):
        assert plugin.containers == ["early"]
        put(queue, "late")
        until("the late one is done", lambda: plugin.containers == ["early", "late"], 30)
        until("its file is gone", lambda: list(queue.folder.iterdir()) == [], 30)
    put(queue, "after")
    assert plugin.containers == ["early", "late"]


def test_one_that_failed_is_tried_again_without_being_asked(
    queue: DeletionQueue, plugin: Runs
) -> None:
    put(queue, "a")
    plugin.answer = error(11)
    with QueueKeeper(queue, Turns(4)):
        plugin.answer = lambda: Answer(0)
        until("its file is gone", lambda: list(queue.folder.iterdir()) == [], 30)


def test_a_folder_that_is_removed_and_comes_back_is_watched_again(
    queue: DeletionQueue, plugin: Runs
) -> None:
    with QueueKeeper(queue, Turns(4)):
        queue.folder.rmdir()
        until("it is back", queue.folder.exists, 30)
        put(queue, "a")
        until("its DEL is done", lambda: plugin.containers == ["a"], 30)


def test_client_and_agent_have_the_same_bounds() -> None:
    header = (CLIENT / "podwire.h").read_text()
    assert f"#define QUEUE_PATH_BYTES {QUEUE_PATH_BYTES + 1} " in header
    assert f"#define QUEUE_FILES {QUEUE_FILES}\n" in header
    assert f"#define QUEUE_FILE_BYTES {QUEUE_FILE_BYTES}\n" in header
