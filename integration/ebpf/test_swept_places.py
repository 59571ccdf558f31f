"""What a killed session of tests left is gone when the next one begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bpf_place
import pytest

from podwire_ebpf import links
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_plane

SESSION = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
import bpf_place
from podwire_ebpf.plane import open_plane
with bpf_place.place(Path(sys.argv[1])) as place:
    plane = open_plane(place)
    plane.attach()
    print(place.cgroup, flush=True)
    input()
"""


@pytest.fixture
def killed(tmp_path: Path) -> Place:
    """The place of a session that nobody let clean up."""
    with subprocess.Popen(
        [sys.executable, "-c", SESSION, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as session:
        assert session.stdout
        cgroup = session.stdout.readline().strip()
        session.kill()
    return Place(Path(cgroup), tmp_path / "podwire")


def test_a_dead_session_s_cgroup_mount_and_attachments_go(killed: Place) -> None:
    assert links.in_effect(killed.cgroup)["connect4"]
    bpf_place.sweep()
    assert not killed.cgroup.exists()
    assert not killed.folder.parent.is_mount()


def test_a_living_session_s_stay(place: Place) -> None:
    plane = open_plane(place)
    plane.attach()
    bpf_place.sweep()
    assert plane.prove().ok
    plane.close()
