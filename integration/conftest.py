"""What every integration test stands on: root, nftables, and namespaces that go away again.

Namespaces are named pwt-PID-NUMBER. Each is removed by the fixture that made it; what a
crashed test left is swept when the session ends.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyroute2 import netns

PREFIX = f"pwt-{os.getpid()}-"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Netns:
    """A network namespace of a test."""

    name: str

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is inside for as long as the block lasts.

        A netlink socket stays where it was made: what is made here works on from outside.
        """
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            netns.setns(self.name)
            yield
        finally:
            netns.setns(home)
            os.close(home)

    def run(self, *command: str, check: bool = True) -> str:
        """A command's output, run inside."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """A process inside, whose caller ends it."""
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """Nothing of this session stays, whatever became of its tests."""
    if os.geteuid() != 0:
        pytest.exit("integration tests need root: they make network namespaces", returncode=1)
    yield
    for left in Path("/run/netns").glob(f"{PREFIX}*"):
        subprocess.run(["ip", "netns", "del", left.name], check=False)


@pytest.fixture
def new_netns() -> Iterator[Callable[[], Netns]]:
    """Make network namespaces; all are gone after the test."""
    made: list[str] = []

    def make() -> Netns:
        name = f"{PREFIX}{next(_numbers)}"
        made.append(name)
        subprocess.run(["ip", "netns", "add", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        return Netns(name)

    yield make
    for name in made:
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.fixture
def until() -> Callable[[str, Callable[[], bool]], None]:
    """Wait for a fact, at most ten seconds; what was waited for stands in the failure."""

    def wait(fact: str, holds: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"never came true: {fact}"
            time.sleep(0.02)

    return wait
