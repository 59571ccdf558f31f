"""What is attached is found by the kernel's numbers, whatever became of the folder's name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scratch import until

from podwire_ebpf import attachments, links, syscall
from podwire_ebpf.attachments import Attachment
from podwire_ebpf.errors import Busy
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_plane

NODE = 0x7E57_0000 + os.getpid()  # no namespace's cookie: they count from one

_KEEP = """
import sys
from pathlib import Path
from podwire_ebpf import plane
held = plane.open_tables(plane.Place(Path(), Path(sys.argv[1])))
print(flush=True)
input()
"""


@pytest.fixture
def attached(shared: Place) -> Place:
    """A plane that no process has open."""
    plane = open_plane(shared)
    plane.settings(NODE)
    plane.attach()
    plane.close()
    return shared


@pytest.fixture
def keeper(attached: Place) -> Iterator[subprocess.Popen[bytes]]:
    words = [sys.executable, "-c", _KEEP, str(attached.folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def ours() -> list[Attachment]:
    return [each for each in attachments.attachments() if each.node == NODE]


def counts(cgroup: Path) -> set[int]:
    return {len(ids) for ids in links.in_effect(cgroup).values()}


def test_a_planes_links_are_found_as_one(attached: Place) -> None:
    (found,) = ours()
    assert found.links == attachments.pinned(attached.folder)
    assert len(found.links) == len(links.HOOKS)
    assert found.cgroups == {attached.cgroup.stat().st_ino}
    assert str(found) == f"9 programs at the cgroup with id {attached.cgroup.stat().st_ino}"


def test_its_folder_is_found_and_goes_with_it(attached: Place) -> None:
    (found,) = ours()
    assert attachments.folder_of(found.links) == attached.folder
    attachments.remove(found)
    assert not attached.folder.exists()
    assert counts(attached.cgroup) == {0}
    assert ours() == []
    attachments.remove(found)


def test_links_whose_pins_no_one_sees_are_detached(attached: Place) -> None:
    """As in another mount namespace: here, links that are held by a descriptor alone."""
    held = [syscall.get(pin) for pin in (attached.folder / "links").iterdir()]
    for pin in (attached.folder / "links").iterdir():
        pin.unlink()
    (found,) = ours()
    assert attachments.folder_of(found.links) is None
    attachments.remove(found)
    assert counts(attached.cgroup) == {0}
    for each in held:
        os.close(each)


def test_what_another_process_has_open_stays(
    attached: Place, keeper: subprocess.Popen[bytes]
) -> None:
    (found,) = ours()
    with pytest.raises(Busy, match=f"in use by process {keeper.pid}"):
        attachments.remove(found)
    assert counts(attached.cgroup) == {1}
    keeper.kill()
    keeper.wait()
    until("nobody has it", lambda: not attachments.processes_with(found.maps))
    attachments.remove(found)
    assert counts(attached.cgroup) == {0}
