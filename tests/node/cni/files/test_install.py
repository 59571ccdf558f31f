"""Putting files on the host: whole, once, and only when they differ."""

import os
import stat
from pathlib import Path

import pytest

from podwire_node.cni.files import install
from podwire_node.cni.files.install import ClientMissing, install_client, install_conflist


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_conflist_is_written_once(tmp_path: Path) -> None:
    folder = tmp_path / "etc/cni/net.d"
    assert install_conflist(folder, b"one")
    path = folder / "10-podwire.conflist"
    before = path.stat()
    assert not install_conflist(folder, b"one")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (path.read_bytes(), mode(path)) == (b"one", 0o600)


def test_a_conflist_that_differs_is_replaced(tmp_path: Path) -> None:
    install_conflist(tmp_path, b"one")
    assert install_conflist(tmp_path, b"two")
    assert (tmp_path / "10-podwire.conflist").read_bytes() == b"two"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_client_is_executable_and_replaced_while_it_runs(tmp_path: Path) -> None:
    built, folder = tmp_path / "built", tmp_path / "bin"
    built.write_bytes(b"\x7fELF one")
    assert install_client(folder, [tmp_path / "nowhere", built])
    client = folder / "podwire"
    assert mode(client) == 0o755
    assert not install_client(folder, [built])
    with client.open("rb") as running:
        built.write_bytes(b"\x7fELF two")
        assert install_client(folder, [built])
        assert running.read() == b"\x7fELF one"
    assert client.read_bytes() == b"\x7fELF two"


def test_a_client_that_lost_its_mode_gets_it_back(tmp_path: Path) -> None:
    built = tmp_path / "built"
    built.write_bytes(b"program")
    install_client(tmp_path / "bin", [built])
    (tmp_path / "bin/podwire").chmod(0o600)
    assert install_client(tmp_path / "bin", [built])
    assert mode(tmp_path / "bin/podwire") == 0o755


def test_without_a_built_client_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ClientMissing, match="make client"):
        install_client(tmp_path, [tmp_path / "nowhere"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["fchmod", "fsync", "rename"])
def test_a_failure_at_any_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    install_conflist(tmp_path, b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((Path, step) if step == "rename" else (install.os, step)), fail)
    with pytest.raises(OSError, match="No space"):
        install_conflist(tmp_path, b"new")
    monkeypatch.undo()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    assert install_conflist(tmp_path, b"new")


def test_the_file_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("fsync folder" if is_folder else "fsync file")
        fsync(descriptor)

    def noted_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        assert not path.name.endswith((".conf", ".conflist", ".json"))  # what runtimes read
        assert path.parent == target.parent
        return rename(path, target)

    monkeypatch.setattr(install.os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "rename", noted_rename)
    install_conflist(tmp_path, b"new")
    assert steps == ["fsync file", "rename", "fsync folder"]
