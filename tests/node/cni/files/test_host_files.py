"""What is on the host stays there, and is not written for nothing."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from podwire_node.cni.files import host_files
from podwire_node.cni.files.host_files import HostFiles
from podwire_node.cni.files.install import install_client

CONTENT = b"one conflist\n"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Of plugins, and of configurations; the built client is a file of the test's."""
    built = tmp_path / "built"
    built.write_bytes(b"\x7fELF client")
    monkeypatch.setattr(
        host_files, "install_client", lambda folder: install_client(folder, [built])
    )
    return tmp_path / "opt/bin", tmp_path / "etc/net.d"


@pytest.fixture
def files(folders: tuple[Path, Path]) -> Iterator[HostFiles]:
    with ExitStack() as stack:
        yield HostFiles(*folders, stack)


def told(files: HostFiles) -> bool:
    """Whether the loop would be woken; it then looks again."""
    ((descriptor, notice),) = files.watched()
    ready = bool(select.select([descriptor], [], [], 0)[0])
    notice()
    return ready


def settle(files: HostFiles, now: float) -> None:
    """What the agent's loop does until nothing wakes it."""
    for _ in range(5):
        files.keep(now, CONTENT, "test")
        if not told(files):
            return
    pytest.fail("it wakes itself again and again")


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_what_is_there_wakes_nobody_and_is_not_written_again(
    files: HostFiles, folders: tuple[Path, Path]
) -> None:
    settle(files, 0)
    paths = [folders[0] / "podwire", folders[1] / "10-podwire.conflist"]
    before = [identity(path) for path in paths]
    (folders[1] / "99-other.conf").write_text("{}")
    assert told(files)
    settle(files, 1)
    assert [identity(path) for path in paths] == before
    assert files.are_there


@pytest.mark.parametrize("name", ["podwire", "10-podwire.conflist"])
@pytest.mark.parametrize("how", ["deleted", "changed", "renamed", "replaced", "unreadable"])
def test_what_someone_takes_away_comes_back(
    files: HostFiles, folders: tuple[Path, Path], name: str, how: str
) -> None:
    settle(files, 0)
    path = next(folder / name for folder in folders if (folder / name).exists())
    before, mode = path.read_bytes(), path.stat().st_mode
    if how == "deleted":
        path.unlink()
    elif how == "changed":
        path.write_bytes(b"another")
    elif how == "renamed":
        path.rename(path.with_suffix(".bak"))
    elif how == "replaced":
        other = path.with_name("other")
        other.write_bytes(b"another")
        other.rename(path)
    else:
        path.chmod(0o000)
    assert told(files)
    settle(files, 1)
    assert (path.read_bytes(), path.stat().st_mode) == (before, mode)


def test_folders_that_are_removed_come_back_with_their_files_and_are_watched_again(
    files: HostFiles, folders: tuple[Path, Path]
) -> None:
    settle(files, 0)
    for round_ in (1, 2):
        for folder in folders:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        assert told(files), round_
        settle(files, round_ * 1000)
        assert (folders[0] / "podwire").exists()
        assert (folders[1] / "10-podwire.conflist").exists()


def test_who_fights_with_us_is_answered_ever_later(
    files: HostFiles, folders: tuple[Path, Path]
) -> None:
    settle(files, 0)
    path, now, waits = folders[1] / "10-podwire.conflist", 1.0, []
    for _ in range(9):
        path.write_bytes(b"theirs")
        assert told(files)
        again = files.keep(now, CONTENT, "test")
        if again is not None:
            assert path.read_bytes() == b"theirs"
            waits.append(again - now)
            now = again
            assert files.keep(now, CONTENT, "test") is None
        assert path.read_bytes() == CONTENT
        told(files)
        files.keep(now, CONTENT, "test")
        told(files)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    path.write_bytes(b"theirs")
    assert told(files)
    assert files.keep(now + 500, CONTENT, "test") is None, "long ago is forgotten"


def test_a_new_conflist_does_not_wait_for_the_end_of_a_fight(
    files: HostFiles, folders: tuple[Path, Path]
) -> None:
    path = folders[1] / "10-podwire.conflist"
    settle(files, 0)
    path.unlink()
    assert told(files)
    settle(files, 1)
    assert files.keep(1.1, b"two", "test") is None
    assert path.read_bytes() == b"two"


def test_another_network_that_comes_first_is_told_and_left(
    files: HostFiles, folders: tuple[Path, Path]
) -> None:
    folders[1].mkdir(parents=True)
    rival = folders[1] / "05-cilium.conflist"
    rival.write_text("{}")
    for name in ("05-old.conflist.bak", "100-crio-bridge.conf", ".10-x.tmp", "20-a.json"):
        (folders[1] / name).write_text("{}")
    (folders[1] / "00-folder.conf").mkdir()
    settle(files, 0)
    (problem,) = files.rivals
    assert str(rival) in problem
    assert rival.exists()
    rival.unlink()
    assert told(files)
    settle(files, 1)
    assert list(files.rivals) == []


def test_without_inotify_files_are_installed_all_the_same(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(host_files, "FolderEvents", refuse)
    with ExitStack() as stack:
        files = HostFiles(*folders, stack)
        assert files.watched() == []
        files.keep(0, CONTENT, "test")
        assert files.are_there
