"""Mounts of our own: /run in memory, as a node has it, with our namespaces and nobody else's.

A plugin writes its leases below /run. On a node that is memory; where it is a disk here, figures
would be the disk's. Nothing of it is left when the last process of ours has ended, however.
"""

from __future__ import annotations

import os
import subprocess
import sys

_INSIDE = "PODWIRE_BENCH_MOUNTS"


def enter() -> None:
    """Start this program anew with such mounts, unless it has them. Raises CalledProcessError."""
    if os.environ.pop(_INSIDE, "") != str(os.getpid()):
        os.environ[_INSIDE] = str(os.getpid())  # unshare starts us in its place: the same number
        unshare = ["unshare", "--mount", "--propagation", "private"]
        command = [*unshare, sys.executable, *sys.argv]
        os.execvp(command[0], command)  # noqa: S606 - in our place, so that signals reach us
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "podwire-bench", "/run"], check=True)
