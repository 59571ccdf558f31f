"""An agent's files on the host, as a runtime finds them: there, put back, and of use without it.

A real agent on a node of its own, its objects in a folder, called by the client it installed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attaching_node import AttachingNode
from client_build import build_for_agents
from scratch import Netns, until

from podwire_cni.leases import Leases, boot_id


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime's folders, which agents are told of by their environment."""
    build_for_agents()
    monkeypatch.setenv("PODWIRE_CNI_CONF_DIR", str(tmp_path / "etc"))
    monkeypatch.setenv("PODWIRE_CNI_BIN_DIR", str(tmp_path / "bin"))
    return tmp_path


@pytest.fixture
def node(new_netns: Callable[[], Netns], host: Path) -> Iterator[AttachingNode]:
    made = AttachingNode(new_netns(), new_netns(), host / "node", host / "bin/podwire")
    yield made
    made.forced_end()


def files(host: Path) -> list[Path]:
    return [host / "bin/podwire", host / "etc/10-podwire.conflist"]


def begun(node: AttachingNode, host: Path) -> None:
    """Start an agent, and wait until runtimes may know of it."""
    node.begin()
    until("the conflist is there", lambda: all(path.exists() for path in files(host)))
    until("it serves", lambda: node.call("STATUS").exit_code == 0)


def written(host: Path) -> dict[str, object]:
    """What a runtime passes on of the conflist to its plugin."""
    document = json.loads(files(host)[1].read_bytes())
    (entry,) = document["plugins"]
    return {"name": document["name"], "cniVersion": document["cniVersion"], **entry}


def test_what_a_package_or_a_person_takes_away_comes_back(node: AttachingNode, host: Path) -> None:
    begun(node, host)
    before = [path.read_bytes() for path in files(host)]
    for path in files(host):
        path.unlink()
    until("they are back", lambda: all(path.exists() for path in files(host)), 10)
    assert [path.read_bytes() for path in files(host)] == before


def test_folders_that_are_wiped_come_back(node: AttachingNode, host: Path) -> None:
    begun(node, host)
    for path in files(host):
        path.parent.rename(host / f"old-{path.parent.name}")
    until("they are back", lambda: all(path.exists() for path in files(host)), 10)


def test_another_network_that_comes_first_is_named_in_the_status(
    node: AttachingNode, host: Path
) -> None:
    begun(node, host)
    rival = host / "etc/05-other.conflist"
    rival.write_text("{}")
    status = host / "node/status.json"
    until("it is a problem", lambda: str(rival) in status.read_text())
    rival.unlink()
    until("it is none any more", lambda: str(rival) not in status.read_text())


def test_pods_end_while_no_agent_runs_and_the_next_one_leaves_nothing_of_them(
    node: AttachingNode, host: Path, new_netns: Callable[[], Netns]
) -> None:
    begun(node, host)
    pods = [new_netns() for _ in range(5)]
    config = written(host)
    for pod in pods:
        assert node.call("ADD", pod, **config).exit_code == 0
    node.stop(signal.SIGKILL)
    for pod in pods:
        assert node.call("DEL", pod, **config).exit_code == 0
    assert len(node.left()) > 0
    node.begin()
    until("nothing is left", lambda: node.left() == [])
    with Leases(node.state, boot_id(), create=False) as leases:
        assert list(leases.all()) == []


def test_install_finds_what_the_agent_installed(node: AttachingNode, host: Path) -> None:
    begun(node, host)
    folders = ("--cni-socket", str(node.socket), "--cni-state-dir", str(node.state))
    argv = [sys.executable, "-m", "podwire_node", "install", *folders, "--json"]

    def installed(*more: str) -> dict[str, str]:
        environ = dict(os.environ)
        done = subprocess.run(
            [*argv, *more], capture_output=True, env=environ, check=True, timeout=30
        )
        return {each["what"]: each["outcome"] for each in json.loads(done.stdout)["rows"]}

    mtu = str(written(host).get("mtu", 0))
    assert installed("--mtu", mtu) == {"client": "unchanged", "conflist": "unchanged"}
    assert installed("--mtu", "1300", "--dry-run")["conflist"] == "would be installed"
    elsewhere = ("--cni-conf-dir", str(host / "etc2"), "--pod-cidrs", "10.244.1.0/24")
    assert installed(*elsewhere) == {"client": "unchanged", "conflist": "installed"}
