"""Network namespaces for one measurement each, whose end is no part of the next one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import scratch
from scratch import Netns


@contextmanager
def room() -> Iterator[Netns]:
    """A fresh namespace. Left in peace, it is wholly gone, with a hundred thousand elements."""
    made = scratch.make()
    try:
        yield made
    finally:
        scratch.remove(made)
    await_removal()


def await_removal() -> None:
    """Until the kernel has taken apart every namespace that was removed before.

    It does so in the background, batch after batch. A canary with a link to the outside is seen to
    go. The first may go in the same batch as what we wait for; the second goes in a later one.
    """
    watch = scratch.make()
    try:
        for number in range(2):
            canary, device = scratch.make(), f"canary{number}"
            peer = ("type", "veth", "peer", "name", "eth0", "netns", canary.name)
            watch.run("ip", "link", "add", device, *peer)
            scratch.remove(canary)
            scratch.until(f"{device} is gone", lambda: not _has(watch, device), seconds=60)  # noqa: B023 - called here
    finally:
        scratch.remove(watch)


def _has(netns: Netns, device: str) -> bool:
    command = ["ip", "-n", netns.name, "link", "show", device]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
