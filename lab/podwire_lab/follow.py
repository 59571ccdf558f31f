"""A container's log as it grows, for as long as its pod is there.

    tail -F ──► standard output       ends when the pod's object is gone, or the whole lab

The end is told by the control plane's files, which are watched: nobody polls.
"""

from __future__ import annotations

import os
import select
import subprocess
from pathlib import Path

from podwire_core.errors import FeedError
from podwire_lab.overview import Lookout
from podwire_lab.topology import Lab
from podwire_lab.workloads import LabPod


def follow(lab: Lab, pod: LabPod, log: Path) -> None:
    """Print the log and what is added to it until this very pod is gone.

    A later pod of its name, or a later lab, has another uid and is not followed. --pid ends
    tail when we are killed.
    """
    argv = ["tail", "-q", "-n", "+1", "-F", f"--pid={os.getpid()}", str(log)]
    with (
        Lookout(lab) as lookout,
        # What tail says of itself (a file that is not there yet) is nobody's output.
        subprocess.Popen(argv, stderr=subprocess.DEVNULL) as tail,
    ):
        try:
            _wait(lookout, pod, tail.pid)
        finally:
            tail.terminate()


def _wait(lookout: Lookout, pod: LabPod, tail: int) -> None:
    """Return when the pod is gone, or tail is (nobody reads its output any more)."""
    pidfd = os.pidfd_open(tail)
    try:
        while _is_there(lookout, pod):
            if pidfd in select.select([lookout.fileno(), pidfd], [], [])[0]:
                return
    finally:
        os.close(pidfd)


def _is_there(lookout: Lookout, pod: LabPod) -> bool:
    try:
        lookout.look()
    except FeedError:
        return False
    return any(each.metadata.uid == pod.metadata.uid for each in lookout.snapshot.all(LabPod))
