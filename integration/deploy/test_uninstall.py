"""The README's commands for a node that podwire has left take away what an agent made, no more."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import bpf_place
import pytest
import scratch
from rendered import DEPLOY
from scratch import Netns, until

from podwire_ebpf import uplink
from podwire_ebpf.plane import open_plane
from podwire_node.routes.overlay import DEVICE

#: One on node1's link, one behind its router, in both families.
NODES = {
    "node1": (("192.168.91.1", "10.244.1.0/24"), ("fd91::1", "fd00:1::/64")),
    "node2": (("192.168.91.2", "10.244.2.0/24"), ("fd91::2", "fd00:2::/64")),
    "far": (("192.168.92.3", "10.244.3.0/24"), ("fd92::3", "fd00:3::/64")),
}
NAMES = ("proxy", "policy", "guard", "masquerade", "host-ports")
TABLES = {f"podwire-{name}" for name in NAMES}


@pytest.fixture
def node() -> Iterator[Netns]:
    """node1, with a table and a route of its administrator's."""
    made = scratch.make()
    try:
        made.run("ip", "link", "add", "net0", "type", "bridge")
        for command in (
            "link set lo up",
            "link set net0 up",
            "address add 192.168.91.1/24 dev net0",
            "address add fd91::1/64 dev net0 nodad",
            "route add default via 192.168.91.254",
            "route add 10.9.0.0/16 via 192.168.91.254",
            "route add default via fd91::ffff",
        ):
            made.run("ip", *command.split())
        made.run("nft", "add", "table", "inet", "administrator")
        yield made
    finally:
        scratch.remove(made)


def test_what_the_readme_says_takes_away_all_that_an_agent_made(
    node: Netns, tmp_path: Path
) -> None:
    before = _kernel(node)
    _run_agent(node, tmp_path)
    made = _kernel(node)
    assert {table.rpartition(" ")[2] for table in made["tables"] - before["tables"]} == TABLES
    assert len(made["routes"] - before["routes"]) == 4
    assert DEVICE in made["links"]
    _follow_the_readme(node)
    assert _kernel(node) == before


def test_it_takes_programs_away_from_uplinks_and_no_other_s(node: Netns, tmp_path: Path) -> None:
    with bpf_place.place(tmp_path) as place, closing(open_plane(place)) as plane, node.inside():
        uplink.attach("net0", plane.external().programs)
        node.run("tc", "qdisc", "add", "dev", "lo", "clsact")
        for link in ("lo", "net0"):
            words = ("pref", "7", "protocol", "all", "bpf", "bytecode", "1,6 0 0 0")
            node.run("tc", "filter", "add", "dev", link, "ingress", *words, "flowid", "1:1")
        assert uplink.attached("net0").whole
        for command in _commands():
            node.run("sh", "-c", command, check=False)
        assert not any(uplink.attached("net0"))
        for link in ("lo", "net0"):
            left = json.loads(node.run("tc", "-json", "filter", "show", "dev", link, "ingress"))
            assert {each["pref"] for each in left} == {7}


def _follow_the_readme(node: Netns) -> None:
    for command in _commands():
        done = node.run("sh", "-c", f"{command}; echo ended with $?", check=False)
        assert done.rstrip().endswith("ended with 0"), f"{command}: {done}"


def _commands() -> list[str]:
    """The lines of the README that are about the kernel: files are the host's."""
    text = (DEPLOY / "README.md").read_text().partition("**Uninstall**")[2]
    block = re.search(r"```console\n(.*?)```", text, re.DOTALL)
    assert block is not None
    lines = [line.strip().removeprefix("# ") for line in block.group(1).splitlines()]
    assert lines[0].startswith("rm ")
    assert len(lines) >= 2
    return [line for line in lines[1:] if line]


def _kernel(node: Netns) -> dict[str, set[str]]:
    # The kernel's own come with a link, and stay for a moment when it has gone.
    routes = [
        row
        for family in ("-4", "-6")
        for row in _ip(node, family, "route")
        if row.get("protocol") != "kernel"
    ]
    return {
        "tables": set(node.run("nft", "list", "tables").splitlines()),
        "routes": {f"{row['dst']} {row['dev']}" for row in routes},
        "links": {row["ifname"] for row in _ip(node, "link")},
    }


def _ip(node: Netns, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(node.run("ip", "-json", *words) or "[]")
    return rows


def _run_agent(node: Netns, folder: Path) -> None:
    """Until its first sync is in the kernel; it then ends as a deleted pod's does."""
    objects, status = folder / "objects", folder / "status.json"
    objects.mkdir()
    for name, rows in NODES.items():
        addresses = [{"type": "InternalIP", "address": address} for address, _ in rows]
        document = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDRs": [cidr for _, cidr in rows]},
            "status": {"addresses": addresses},
        }
        (objects / f"{name}.json").write_text(json.dumps(document))
    with _agent(node, objects, status, folder / "log"):
        until("the agent is ready", lambda: status.exists() and _ready(status))


def _ready(status: Path) -> bool:
    return bool(json.loads(status.read_text())["ready"])


@contextmanager
def _agent(node: Netns, objects: Path, status: Path, log: Path) -> Iterator[None]:
    enter = ["nsenter", f"--net=/run/netns/{node.name}"]
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", "node1"]
    command += [f"--feed={objects}", f"--status={status}", "--components=proxy,policy,cni"]
    command += [f"--cni-socket={status.with_name('cni.sock')}"]
    command += [f"--cni-state-dir={status.with_name('cni')}", "--cni-conf-dir=", "--cni-bin-dir="]
    with log.open("wb") as file:
        process = subprocess.Popen([*enter, *command], stderr=file)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
