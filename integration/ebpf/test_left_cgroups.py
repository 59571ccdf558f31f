"""A cgroup goes when its last process has ended, and not before."""

from __future__ import annotations

import errno
import subprocess
from pathlib import Path

import pytest

from podwire_ebpf import place
from podwire_ebpf.place import Place, remove_left


def left(at: Place, seconds: str) -> tuple[Path, subprocess.Popen[bytes]]:
    """A cgroup, and a process in it that ends after so many seconds."""
    cgroup = at.cgroup / "left"
    cgroup.mkdir()
    script = 'echo $$ > "$0/cgroup.procs"; echo in; exec sleep "$1"'
    process = subprocess.Popen(["sh", "-c", script, cgroup, seconds], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    return cgroup, process


def test_who_is_about_to_leave_is_waited_for(
    shared: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "_LEAVING_S", 60.0)
    cgroup, process = left(shared, "0.2")
    with process:
        remove_left(cgroup)
    assert not cgroup.exists()


def test_who_stays_keeps_it(shared: Place) -> None:
    cgroup, process = left(shared, "600")
    with process:
        try:
            with pytest.raises(OSError) as caught:  # noqa: PT011 - its number is looked at
                remove_left(cgroup)
            assert caught.value.errno == errno.EBUSY
        finally:
            process.kill()
    remove_left(cgroup)
