"""Network namespaces for tests: uniquely named, entered, and gone again.

Names are pwt-PID-NUMBER. Whoever makes one removes it; what a crash left is swept by the
prefix when the session ends.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pyroute2 import netns

PREFIX = f"pwt-{os.getpid()}-"
#: How many times slower than a plain machine this one is. An emulated guest says so; waiting for a
#: fact takes as long as it takes anyway.
SLOWNESS = float(os.environ.get("PODWIRE_TEST_SLOWNESS", "1"))
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

    def run(self, *command: str, check: bool = True, seconds: float = 60) -> str:
        """A command's output, run inside. seconds: as many as it may take."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.name}", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds * SLOWNESS,
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def ip(self, commands: Sequence[str]) -> None:
        """Many of ip's commands by one process."""
        text = "\n".join(commands)
        done = subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=60 * SLOWNESS,
        )
        assert done.returncode == 0, f"{text}\n{done.stderr}"

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """A process inside, whose caller ends it."""
        return subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.name}", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def make() -> Netns:
    """A new namespace with its loopback up."""
    name = f"{PREFIX}{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    return Netns(name)


def remove(each: Netns) -> None:
    """Remove a namespace; one that is gone already is no error."""
    subprocess.run(["ip", "netns", "del", each.name], check=False, capture_output=True)


def sweep() -> None:
    """Remove whatever this process made and did not remove."""
    for left in Path("/run/netns").glob(f"{PREFIX}*"):
        remove(Netns(left.name))


def until(fact: str, holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a fact; what was waited for stands in the failure.

    seconds: as many as it may take where others keep the processors busy, too.
    """
    deadline = time.monotonic() + seconds * SLOWNESS
    while not holds():
        assert time.monotonic() < deadline, f"never came true: {fact}"
        time.sleep(0.02)


def took(fact: str, holds: Callable[[], bool]) -> float:
    """Wait for a fact; after how many seconds it was true.

    Who promises a time takes the shortest of several: others' work makes them longer alone.
    """
    began = time.monotonic()
    until(fact, holds)
    return time.monotonic() - began
