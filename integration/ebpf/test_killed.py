"""An agent killed at any step leaves something that serves, and the next one repairs it."""

from __future__ import annotations

import signal
from pathlib import Path

import plane_process
import pytest
from caller import Caller, listening
from plane_process import Version
from scratch import Netns, until

from podwire_ebpf import links, pins
from podwire_ebpf.hooks import HOOKS, Hook
from podwire_ebpf.place import Place
from podwire_ebpf.records import Endpoint

VIP = ("10.96.0.10", 80)
PLAIN, OTHER_TEXT = Version(), Version(text="another text")
OTHER_LAYOUT = Version(layout="0123456789abcdef")
ATTACHING = [f"{hook.program} {done}" for hook in HOOKS for done in ("linked", "attached")]


def counts(place: Place) -> list[int]:
    return [len(ids) for ids in links.in_effect(place.cgroup).values()]


def is_whole(place: Place) -> bool:
    """Each program attached once, one folder of each kind and nothing half made."""
    kinds = sorted(each.name.split("-")[0] for each in place.folder.iterdir())
    return counts(place) == [1] * len(HOOKS) and kinds == ["links", "maps", "programs"]


def ends_well(place: Place, endpoint: Endpoint, version: Version = PLAIN) -> None:
    ran = plane_process.run(place, VIP, endpoint, version)
    assert ran.code == 0, ran.told
    assert is_whole(place)


def dies(place: Place, endpoint: Endpoint, version: Version, step: str) -> None:
    ran = plane_process.run(place, VIP, endpoint, version, kill=step)
    assert (ran.code, ran.steps[-1:]) == (-signal.SIGKILL, [step]), ran.told


def test_killed_while_it_attaches_nothing_is_attached_twice(place: Place, netns: Netns) -> None:
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        endpoint = Endpoint("127.0.0.1", port)
        dies(place, endpoint, PLAIN, "applied")
        for step in ATTACHING:
            dies(place, endpoint, PLAIN, step)
            attached = ATTACHING.index(step) // 2 + step.endswith(" attached")
            until(  # a link that was not pinned goes with its process, a moment later
                f"{attached} programs in effect, killed at {step}",
                lambda attached=attached: sum(counts(place)) == attached,  # type: ignore[misc] # a default binds it
            )
            assert max(counts(place)) <= 1
            ends_well(place, endpoint)
            assert caller.connect(*VIP) == VIP
            links.detach_all(place.folder / pins.LINKS)


@pytest.mark.parametrize("hook", [HOOKS[0], HOOKS[-1]], ids=lambda hook: hook.name)
def test_killed_while_it_swaps_programs_every_call_is_served(
    place: Place, netns: Netns, hook: Hook
) -> None:
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        endpoint = Endpoint("127.0.0.1", port)
        ends_well(place, endpoint)
        with caller.calling(*VIP) as calls:
            dies(place, endpoint, OTHER_TEXT, f"{hook.program} attached")
            ends_well(place, endpoint, OTHER_TEXT)
        assert calls.failed == []
        assert calls.made > 10


@pytest.mark.parametrize("step", ["map members pinned", "programs compiled", "applied"])
def test_killed_while_it_makes_another_layout_the_old_one_serves(
    place: Place, netns: Netns, step: str
) -> None:
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        endpoint = Endpoint("127.0.0.1", port)
        ends_well(place, endpoint)
        with caller.calling(*VIP) as calls:
            dies(place, endpoint, OTHER_LAYOUT, step)
            ends_well(place, endpoint, OTHER_LAYOUT)
        assert calls.failed == []
        assert calls.made > 10


def test_killed_while_it_compiles_the_compiler_ends_too(place: Place, netns: Netns) -> None:
    with listening(netns) as port:
        endpoint = Endpoint("127.0.0.1", port)
        agent = plane_process.start(place, VIP, endpoint, PLAIN)
        try:
            until("a compiler runs", lambda: bool(children(agent.pid)))
            compiler = children(agent.pid)[0]
        finally:
            agent.kill()
            agent.communicate()
        until("the compiler is gone", lambda: not is_running(compiler))
        assert [each for each in place.folder.iterdir() if "-new-" in each.name]
        ends_well(place, endpoint)


def children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_running(pid: int) -> bool:
    """A zombie, whom nobody has asked yet how it ended, runs no more."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
