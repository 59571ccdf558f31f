"""Nodes and pods: namespaces, many of them made and removed at a time."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import scratch
from rooms import await_removal

NODE_ADDRESS = "192.0.2.1"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Pod:
    """A container that waits for its network."""

    name: str

    @property
    def netns(self) -> str:
        """Where its namespace is."""
        return f"/run/netns/{self.name}"


@contextmanager
def pods(count: int) -> Iterator[Sequence[Pod]]:
    """Fresh namespaces. Left in peace, they are wholly gone: that holds the kernel's lock."""
    made = [Pod(f"{scratch.PREFIX}pod{next(_numbers)}") for _ in range(count)]
    try:
        _netns("add", made)
        yield made
    finally:
        _netns("del", made)
    await_removal()


@contextmanager
def node() -> Iterator[scratch.Netns]:
    """A node with an uplink to nowhere and a default route."""
    made = scratch.make()
    try:
        made.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "wire")
        made.run("ip", "link", "set", "wire", "up")
        made.run("ip", "link", "set", "uplink", "up")
        made.run("ip", "address", "add", f"{NODE_ADDRESS}/24", "dev", "uplink")
        made.run("ip", "route", "add", "default", "via", "192.0.2.254")
        yield made
    finally:
        scratch.remove(made)


def _netns(verb: str, made: Sequence[Pod]) -> None:
    lines = "".join(f"netns {verb} {pod.name}\n" for pod in made)
    force = ["-force"] if verb == "del" else []  # goes on where one was never made
    subprocess.run(
        ["ip", *force, "-batch", "-"],
        input=lines,
        text=True,
        check=verb == "add",
        stderr=None if verb == "add" else subprocess.DEVNULL,
    )
