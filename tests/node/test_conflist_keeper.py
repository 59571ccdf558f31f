"""A conflist is there when it can be kept, and says what is so now."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from podwire_node.cni.calls.listener import listen
from podwire_node.cni.files.conflist_keeper import ConflistKeeper
from podwire_node.settings.agent_config import AgentConfig

CIDRS = ("10.244.1.0/24", "fd00:10:244:1::/64")


def keeper(folder: Path, stack: ExitStack, **settings: str) -> ConflistKeeper:
    config = AgentConfig(
        node="n1",
        feed="/objects",
        cni_plugin="podwire-cni",
        cni_conf_dir=str(folder),
        cni_state_dir=str(folder.parent / "state"),
        **settings,  # type: ignore[arg-type]  # only paths are given here
    )
    return ConflistKeeper(config, stack, lambda: closing(listen(Path(config.cni_socket))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "net.d"


def written(folder: Path) -> str:
    return (folder / "10-podwire.conflist").read_text()


def test_without_pod_cidrs_nothing_is_promised(folder: Path) -> None:
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        assert kept.sync(0, (), 0) is None
        assert not kept.ready
        assert not folder.exists()
        assert kept.sync(1, CIDRS, 1450) is None
        assert kept.ready
        assert json.loads(written(folder))["plugins"][0]["mtu"] == 1450


def test_it_is_written_again_when_something_changes_and_only_then(folder: Path) -> None:
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        kept.sync(0, CIDRS, 1500)
        before = (folder / "10-podwire.conflist").stat()
        version = before.st_ino, before.st_mtime_ns
        kept.sync(1, CIDRS, 1500)
        keeper(folder, stack).sync(2, CIDRS, 1500)
        after = (folder / "10-podwire.conflist").stat()
        assert (after.st_ino, after.st_mtime_ns) == version, "also by a new agent"
        kept.sync(3, CIDRS, 1450)
        assert "1450" in written(folder)
        kept.sync(4, ("10.244.9.0/24",), 1450)
        assert "10.244.9.0/24" in written(folder)
        last = written(folder)
        kept.sync(5, (), 1450)
        assert written(folder) == last, "a Node that is gone takes no network away"
    assert written(folder) == last, "nor does an agent that ends"


def test_what_cannot_be_written_is_a_problem_and_tried_again(folder: Path) -> None:
    folder.write_text("in the way")
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        retry = kept.sync(0, CIDRS, 1500)
        assert retry is not None
        assert "cni: " in kept.problems[0]
        assert not kept.ready
        assert kept.sync(retry / 2, CIDRS, 1500) == retry, "too early"
        folder.unlink()
        assert kept.sync(retry, CIDRS, 1500) is None
        assert kept.ready
        assert kept.problems == []
        assert "1500" in written(folder)


def test_no_conflist_without_a_socket_that_serves(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cni").write_text("in the way")
    with ExitStack() as stack:
        kept = keeper(folder, stack, cni_socket=str(tmp_path / "cni/agent.sock"))
        retry = kept.sync(0, CIDRS, 1500)
        assert retry is not None
        assert not folder.exists()
        (tmp_path / "cni").unlink()
        assert kept.sync(retry, CIDRS, 1500) is None
        assert (tmp_path / "cni/agent.sock").is_socket()
        assert kept.ready


def test_pod_cidrs_of_one_family_twice_are_a_problem_and_no_end(folder: Path) -> None:
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        kept.sync(0, CIDRS, 1500)
        again = kept.sync(1, ("10.244.1.0/24", "10.244.2.0/24"), 1500)
        assert again is not None
        assert "10.244.2.0/24" in kept.problems[0]
        assert CIDRS[1] in written(folder), "what was promised before stays"
        assert kept.sync(again, CIDRS, 1500) is None
        assert kept.problems == []


def test_a_conflist_that_someone_deletes_comes_back(folder: Path) -> None:
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        ((_, notice),) = kept.watched()
        kept.sync(0, CIDRS, 1500)
        before = written(folder)
        (folder / "10-podwire.conflist").unlink()
        notice()
        assert kept.sync(1, CIDRS, 1500) is None
        assert written(folder) == before
        assert kept.ready


def test_another_networks_conflist_is_a_problem_and_leaves_us_ready(folder: Path) -> None:
    folder.mkdir()
    (folder / "05-other.conflist").write_text("{}")
    with ExitStack() as stack:
        kept = keeper(folder, stack)
        kept.sync(0, CIDRS, 1500)
        (problem,) = kept.problems
        assert "05-other.conflist" in problem
        assert kept.ready
