"""What is to be sent arrives: the newest of each key, however often the server fails."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from podwire_core.feed.api_server import ApiError
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.work_queue import WorkQueue


class NoTime(Clock):
    """Waits are written down and over at once."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)


class Server:
    """Fails as told, and takes what there is when its turn has come."""

    def __init__(self) -> None:
        self.value = 0
        self.taken: list[int] = []
        self.failures: list[ApiError] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, _: str) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.taken.append(self.value)


def told(story: Callable[[WorkQueue[str], Server, NoTime], Awaitable[None]]) -> None:
    async def run() -> None:
        server, clock = Server(), NoTime()
        queue = WorkQueue[str](server.send, clock)
        await story(queue, server, clock)
        queue.close()

    asyncio.run(run())


async def settle() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


def test_only_the_newest_is_sent_when_the_server_is_slow() -> None:
    async def story(queue: WorkQueue[str], server: Server, _: NoTime) -> None:
        server.gate.clear()
        for value in range(1, 6):
            server.value = value
            queue.put("pod")
            await asyncio.sleep(0)
        server.gate.set()
        await settle()
        assert set(server.taken) == {5}
        assert len(server.taken) <= 2

    told(story)


@pytest.mark.parametrize("status", [0, 403, 429, 500, 503])
def test_what_did_not_arrive_is_sent_again_later_and_later(status: int) -> None:
    async def story(queue: WorkQueue[str], server: Server, clock: NoTime) -> None:
        server.failures = [ApiError(status, "no") for _ in range(20)]
        queue.put("pod")
        await settle()
        assert len(server.taken) == 1
        assert len(clock.waits) == 20
        assert 0.1 <= clock.waits[0] <= 0.4
        assert 15 <= clock.waits[-1] <= 45

    told(story)


@pytest.mark.parametrize("status", [400, 404, 409, 422])
def test_what_no_second_try_changes_is_not_tried_again(status: int) -> None:
    async def story(queue: WorkQueue[str], server: Server, clock: NoTime) -> None:
        server.failures = [ApiError(status, "no")]
        queue.put("pod")
        await settle()
        assert (server.taken, clock.waits) == ([], [])
        queue.put("pod")
        await settle()
        assert len(server.taken) == 1

    told(story)


def test_a_key_that_fails_holds_up_no_other() -> None:
    async def run() -> None:
        sent: list[str] = []
        clock = Clock()

        async def send(key: str) -> None:
            if key == "bad":
                raise ApiError(500, "no")
            sent.append(key)

        queue = WorkQueue[str](send, clock)
        for key in ("bad", "good", "fine"):
            queue.put(key)
        await settle()
        queue.close()
        assert sent == ["good", "fine"]

    asyncio.run(run())
