"""Agents are found by their words and their namespace, in a folder that stands for /proc."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire_node.cleanup.running import kube_proxies, our_agents


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    add(tmp_path, "self", "net:[1]", "python3", "-m", "podwire_node", "cleanup")
    return tmp_path


def add(proc: Path, pid: str, namespace: str, *words: str) -> None:
    (proc / pid / "ns").mkdir(parents=True)
    (proc / pid / "ns/net").symlink_to(namespace)
    (proc / pid / "cmdline").write_text("\0".join([*words, ""]))


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("/opt/podwire/bin/podwire", "agent", "--node", "n"), True),
        (("/usr/bin/python3", "/opt/bin/podwire", "proxy"), True),
        (("python3", "-m", "podwire_node", "agent"), True),
        (("python3", "-I", "-m", "podwire_node", "proxy"), True),
        (("podwire", "cleanup"), False),
        (("podwire", "proxy", "--cleanup"), False),
        (("sudo", "podwire", "agent", "--node", "n"), False),
        (("timeout", "3", "/opt/podwire/bin/podwire", "agent"), False),
        (("/usr/bin/python3.11", "/opt/bin/podwire", "agent"), True),
        (("podwire", "lab", "up"), False),
        (("vi", "agent", "podwire"), False),
        ((), False),
    ],
)
def test_our_agents_are_known_by_their_words(
    proc: Path, words: tuple[str, ...], found: bool
) -> None:
    add(proc, "12", "net:[1]", *words)
    assert our_agents(proc) == ([12] if found else [])


def test_those_of_another_namespace_are_not_ours_to_mind(proc: Path) -> None:
    add(proc, "12", "net:[2]", "podwire", "agent")
    add(proc, "13", "net:[1]", "podwire", "agent")
    assert our_agents(proc) == [13]


def test_a_process_that_has_ended_is_none(proc: Path) -> None:
    (proc / "14").mkdir()
    (proc / "15").write_text("no folder")
    assert our_agents(proc) == []


def test_kube_proxies_are_found_likewise(proc: Path) -> None:
    add(proc, "7", "net:[1]", "/usr/local/bin/kube-proxy", "--config=/x")
    add(proc, "8", "net:[1]", "kube-proxy-watcher")
    assert kube_proxies(proc) == [7]
