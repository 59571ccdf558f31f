"""No pod gets a network while its node's agent is not ready."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from podwire_core.files import write_json
from podwire_lab.kubelet.agent_state import AgentState, GuardedNetwork
from podwire_lab.kubelet.networks import InstalledNetwork, NotInstalledError

Story = Callable[[GuardedNetwork, Path], Awaitable[None]]


def say(file: Path, *, ready: bool, pid: int | None = None) -> None:
    write_json(file, {"pid": os.getpid() if pid is None else pid, "ready": ready, "more": [1]})


def forget(file: Path) -> None:
    file.unlink()


def tell(home: Path, story: Story, *, installed: bool = True) -> None:
    """A story of the network of a node, and of the file in which its agent says how it is."""
    file, folder = home / "agent.json", home / "cni-conf"
    folder.mkdir()
    if installed:
        (folder / "10-x.conflist").write_text('{"name": "x", "plugins": [{"type": "x"}]}')

    async def run() -> None:
        with closing(InstalledNetwork(folder)) as inner, closing(AgentState(file)) as agent:
            async with asyncio.timeout(60):
                await story(GuardedNetwork(inner, agent, "node2"), file)

    asyncio.run(run())


def refused(network: GuardedNetwork) -> str:
    with pytest.raises(NotInstalledError) as error:
        network.current()
    return str(error.value)


async def waits(waiting: asyncio.Task[None]) -> bool:
    """Whether it still waits when the loop has gone round some times."""
    for _ in range(20):
        await asyncio.sleep(0.005)
    return not waiting.done()


def test_pods_wait_until_the_agent_says_that_it_is_ready(tmp_path: Path) -> None:
    async def story(network: GuardedNetwork, file: Path) -> None:
        waiting = [asyncio.create_task(network.ready()) for _ in range(3)]
        assert await waits(waiting[0])
        say(file, ready=False)
        assert await waits(waiting[0])
        assert refused(network) == "the agent of node2 is not ready"
        say(file, ready=True)
        await asyncio.gather(*waiting)
        assert network.current().name == "x"

    tell(tmp_path, story)


def test_an_agent_that_starts_again_lets_no_pod_in_until_it_is_ready_again(tmp_path: Path) -> None:
    async def story(network: GuardedNetwork, file: Path) -> None:
        say(file, ready=True)
        network.current()
        forget(file)
        assert "agent of node2" in refused(network)
        waiting = asyncio.create_task(network.ready())
        assert await waits(waiting)
        say(file, ready=True)
        await waiting

    tell(tmp_path, story)


def test_an_agent_that_was_killed_is_not_ready_whatever_it_said(tmp_path: Path) -> None:
    async def story(network: GuardedNetwork, file: Path) -> None:
        say(file, ready=True, pid=2**22 + 1)  # larger than the kernel's largest
        assert "agent of node2" in refused(network)

    tell(tmp_path, story)


def test_without_a_conflist_it_is_that_which_is_missing(tmp_path: Path) -> None:
    async def story(network: GuardedNetwork, file: Path) -> None:
        say(file, ready=True)
        assert "cni plugin not initialized" in refused(network)

    tell(tmp_path, story, installed=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"ready": "true"}', b"\xff"])
def test_a_file_that_says_nothing_usable_is_not_ready(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "agent.json").write_bytes(content)

    async def story(network: GuardedNetwork, _: Path) -> None:
        assert "agent of node2" in refused(network)

    tell(tmp_path, story)
