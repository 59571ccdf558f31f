"""`podwire cleanup` takes away what podwire and kube-proxy put in force, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scratch import Netns, until

from podwire_cni.attachment import Attachment
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_node.cni.files.conflist import conflist
from podwire_node.cni.files.install import CLIENT, CONFLIST
from podwire_node.host_ports import HostPorts
from podwire_node.routes.overlay import DEVICE

#: One on node1's link, one behind its router, in both families.
NODES = {
    "node1": (("192.168.91.1", "10.244.1.0/24"), ("fd91::1", "fd00:1::/64")),
    "node2": (("192.168.91.2", "10.244.2.0/24"), ("fd91::2", "fd00:2::/64")),
    "far": (("192.168.92.3", "10.244.3.0/24"), ("fd92::3", "fd00:3::/64")),
}
NAMES = ("guard", "masquerade", "policy", "proxy")
OURS = {f"{family} podwire-{name}" for family in ("ip", "ip6") for name in NAMES}

#: As kube-proxy makes them, and one that someone else has.
CHAINS = """\
*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-AAAABBBBCCCCDDDD - [0:0]
:KUBE-MARK-DROP - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A PREROUTING -p tcp --dport 9 -j MINE
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-AAAABBBBCCCCDDDD
COMMIT
*filter
:KUBE-FORWARD - [0:0]
:KUBE-FIREWALL - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A INPUT -j KUBE-FIREWALL
COMMIT
"""


class Site:
    """node1, with a table and a route of its administrator's."""

    def __init__(self, node: Netns, folder: Path) -> None:
        self.node = node
        self.folder = folder
        self.conf = folder / "net.d"
        self.bin = folder / "bin"
        for each in (self.conf, self.bin):
            each.mkdir()

    def cleanup(self, *words: str, code: int = 0) -> dict[str, Any]:
        """`podwire cleanup --json`, and what it says."""
        done = self.run("cleanup", "--json", *words)
        assert done.returncode == code, done.stderr + done.stdout
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return found

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        enter = ["nsenter", f"--net=/run/netns/{self.node.name}"]
        folders = ("--cni-conf-dir", str(self.conf), "--cni-bin-dir", str(self.bin))
        command = [sys.executable, "-m", "podwire_node", *words, *folders]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"}
        return subprocess.run(
            [*enter, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=environment,
        )

    def tables(self) -> set[str]:
        rows = self.node.run("nft", "list", "tables").splitlines()
        return {row.removeprefix("table ") for row in rows}

    def kernel(self) -> tuple[set[str], set[str], set[str]]:
        """Tables, routes and links."""
        routes = [
            row
            for family in ("-4", "-6")
            for row in json.loads(self.node.run("ip", "-json", family, "route") or "[]")
            if row.get("protocol") != "kernel"
        ]
        links = json.loads(self.node.run("ip", "-json", "link"))
        return (
            self.tables(),
            {f"{row['dst']} {row['dev']}" for row in routes},
            {row["ifname"] for row in links},
        )


@pytest.fixture
def site(new_netns: Callable[[], Netns], tmp_path: Path) -> Site:
    node = new_netns()
    node.run("ip", "link", "add", "net0", "type", "bridge")
    for command in (
        "link set net0 up",
        "address add 192.168.91.1/24 dev net0",
        "address add fd91::1/64 dev net0 nodad",
        "route add default via 192.168.91.254",
        "route add 10.9.0.0/16 via 192.168.91.254",
        "route add default via fd91::ffff",
    ):
        node.run("ip", *command.split())
    node.run("nft", "add", "table", "inet", "administrator")
    return Site(node, tmp_path)


@contextmanager
def agent(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """node1's agent, in force, and ended as a deleted pod's is."""
    objects, status = site.folder / "objects", site.folder / "status.json"
    objects.mkdir(exist_ok=True)
    for name, rows in NODES.items():
        document = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "spec": {"podCIDRs": [cidr for _, cidr in rows]},
            "status": {"addresses": [{"type": "InternalIP", "address": each} for each, _ in rows]},
        }
        (objects / f"{name}.json").write_text(json.dumps(document))
    enter = ["nsenter", f"--net=/run/netns/{site.node.name}"]
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", "node1"]
    command += [f"--feed={objects}", f"--status={status}"]
    with (site.folder / "log").open("wb") as log:
        process = subprocess.Popen([*enter, *command], stderr=log)
    try:
        until("it is ready", lambda: status.exists() and _ready(status))
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _ready(status: Path) -> bool:
    return bool(json.loads(status.read_bytes())["ready"])


def test_all_that_an_agent_made_goes_and_nothing_else(site: Site) -> None:
    before = site.kernel()
    with agent(site):
        pass
    tables, routes, links = site.kernel()
    assert tables - before[0] == OURS
    assert len(routes - before[1]) == 4
    assert DEVICE in links
    planned = site.cleanup("--dry-run")
    assert site.kernel() == (tables, routes, links)
    assert {row["outcome"] for row in planned["rows"]} == {"would be removed"}
    done = site.cleanup()
    assert site.kernel() == before
    names = [(row["kind"], row["name"]) for row in done["rows"]]
    assert names == [(row["kind"], row["name"]) for row in planned["rows"]]
    assert {row["outcome"] for row in done["rows"]} == {"removed"}
    assert len(names) == len(OURS) + 4 + 1
    assert site.cleanup()["rows"] == []
    assert site.run("cleanup").stdout == "nothing to remove\n"


def test_a_component_may_go_alone(site: Site) -> None:
    with agent(site):
        pass
    site.cleanup("--components", "proxy")
    assert site.tables() >= OURS - {"ip podwire-proxy", "ip6 podwire-proxy"}
    assert not {each for each in site.tables() if "proxy" in each}
    assert DEVICE in site.kernel()[2]


def test_localhost_is_closed_before_the_rule_that_guards_it_goes(site: Site) -> None:
    """Pods' links stay, and with route_localnet a pod would reach what listens at 127.0.0.1."""
    link = Attachment("podwire", "c", "eth0").host_name
    names = [f"net.ipv4.conf.{each}.route_localnet" for each in (link, "net0")]
    site.node.run("ip", "link", "add", link, "type", "veth", "peer", "name", "other")
    site.node.run("sysctl", "-qw", *(f"{name}=1" for name in names))
    host_ports = HostPorts()
    with site.node.inside():
        Owner(Kernel(), host_ports.tables).sync(host_ports.wanted)
    rows = site.cleanup("--components", "cni")["rows"]
    assert [(row["name"], row["outcome"]) for row in rows] == [
        (names[0], "removed"),
        ("ip podwire-host-ports", "removed"),
        ("ip6 podwire-host-ports", "removed"),
    ]
    assert site.node.run("sysctl", "-n", *names).split() == ["0", "1"], "and no one else's link"


def test_while_an_agent_runs_it_refuses(site: Site) -> None:
    with agent(site) as process:
        done = site.run("cleanup")
        assert done.returncode == 1
        assert f"an agent runs in this network namespace (pid {process.pid})" in done.stderr
        assert site.tables() >= OURS
        site.cleanup("--dry-run")
        assert site.run("cleanup", "--force").returncode == 0
        until("the agent makes it anew", lambda: site.tables() >= OURS)


def test_of_the_runtimes_folders_only_what_is_ours_goes(site: Site) -> None:
    ours = conflist(["10.244.1.0/24"], 0, "podwire", None, Path("/run/x"))
    (site.conf / CONFLIST).write_bytes(ours)
    (site.conf / "05-other.conflist").write_bytes(ours.replace(b'"podwire"', b'"other"'))
    (site.bin / CLIENT).write_bytes(
        b"\x7fELF podwire: hands CNI calls to the node's podwire agent\n"
    )
    (site.bin / "bridge").write_text("another's")
    rows = site.cleanup("--components", "cni")["rows"]
    assert [(row["name"], row["outcome"]) for row in rows] == [
        (str(site.conf / CONFLIST), "removed"),
        (str(site.bin / CLIENT), "removed"),
    ]
    assert [path.name for path in site.conf.iterdir()] == ["05-other.conflist"]
    assert [path.name for path in site.bin.iterdir()] == ["bridge"]


def test_what_only_has_our_files_name_stays(site: Site) -> None:
    (site.conf / CONFLIST).write_text('{"name": "other", "plugins": [{"type": "podwire"}]}')
    (site.bin / CLIENT).write_text("#!/bin/sh\n")
    rows = site.cleanup()["rows"]
    assert {row["outcome"] for row in rows} == {"left"}
    assert (site.conf / CONFLIST).exists()
    assert (site.bin / CLIENT).exists()


def test_a_link_that_only_has_our_name_stays(site: Site) -> None:
    site.node.run("ip", "link", "add", DEVICE, "type", "bridge")
    (row,) = site.cleanup()["rows"]
    assert (row["kind"], row["outcome"]) == ("link", "left")
    assert DEVICE in site.kernel()[2]


def test_a_table_is_drawn_for_people(site: Site) -> None:
    site.node.run("nft", "add", "table", "ip", "podwire-proxy")
    output = site.run("cleanup", "--dry-run").stdout
    assert "ip podwire-proxy" in output
    assert "would be removed" in output


def test_unknown_components_are_one_sentence(site: Site) -> None:
    done = site.run("cleanup", "--components", "ebpf")
    assert done.returncode == 1
    assert "'ebpf': use one or more of cni, proxy and policy" in done.stderr


# ---------------------------------------------------------------------------- kube-proxy's


def iptables(kind: str, verb: str = "") -> str:
    program = f"iptables-{kind}{verb}"
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program}: apt-get install iptables")
    return program


def restore(site: Site, kind: str, text: str) -> None:
    file = site.folder / "rules"
    file.write_text(text)
    site.node.run(iptables(kind, "-restore"), "--noflush", str(file))


def without_programs(site: Site) -> subprocess.CompletedProcess[str]:
    """`podwire cleanup --kube-proxy --json` where no program is found."""
    folder = site.folder / "few"
    folder.mkdir()
    enter = ["nsenter", f"--net=/run/netns/{site.node.name}", "env", f"PATH={folder}"]
    command = [sys.executable, "-m", "podwire_node", "cleanup", "--kube-proxy", "--json"]
    return subprocess.run(
        [*enter, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("kind", ["nft", "legacy"])
def test_chains_of_iptables_go_and_others_stay(site: Site, kind: str) -> None:
    restore(site, kind, CHAINS)
    planned = site.cleanup("--kube-proxy", "--dry-run")["rows"]
    assert [row["outcome"] for row in planned] == ["would be removed"] * 2
    rows = site.cleanup("--kube-proxy")["rows"]
    assert [row["outcome"] for row in rows] == ["removed"] * 2
    assert rows[0]["name"] == f"iptables ({kind}) nat: 2 chains, 1 rules to them"
    saved = site.node.run(iptables(kind, "-save"))
    left = [line.split()[0] for line in saved.splitlines() if line.startswith((":KUBE", ":MINE"))]
    assert sorted(left) == [":KUBE-FIREWALL", ":KUBE-MARK-DROP", ":MINE"]
    assert "-A INPUT -j KUBE-FIREWALL" in saved
    assert "-j MINE" in saved
    assert site.cleanup("--kube-proxy")["rows"] == []


def test_a_chain_that_others_need_is_told_and_stays(site: Site) -> None:
    text = CHAINS.replace("COMMIT", "-A MINE -j KUBE-SERVICES\nCOMMIT", 1)
    restore(site, "nft", text)
    rows = site.cleanup("--kube-proxy")["rows"]
    left = [row["name"] for row in rows if row["outcome"] == "left"]
    assert left == [
        "iptables (nft) nat KUBE-SERVICES",
        "iptables (nft) nat KUBE-SVC-AAAABBBBCCCCDDDD",
    ]
    saved = site.node.run(iptables("nft", "-save"), "-t", "nat")
    assert "-A KUBE-SERVICES -d 10.96.0.1/32" in saved


def test_tables_of_nftables_go_however_full(site: Site) -> None:
    for family in ("ip", "ip6", "inet"):
        site.node.run("nft", "add", "table", family, "kube-proxy")
    site.node.run("nft", "add", "chain", "ip", "kube-proxy", "services")
    rows = site.cleanup("--kube-proxy")["rows"]
    assert [row["name"] for row in rows] == ["ip kube-proxy", "ip6 kube-proxy"]
    assert site.tables() == {"inet administrator", "inet kube-proxy"}


def test_where_nothing_of_kube_proxy_is_no_program_is_needed(site: Site) -> None:
    """As on every node with a kubelet, in an image that has no iptables."""
    restore(site, "nft", "*filter\n:KUBE-FIREWALL - [0:0]\n-A INPUT -j KUBE-FIREWALL\nCOMMIT\n")
    done = without_programs(site)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == []


def test_tables_of_old_that_cannot_be_looked_into_are_told_of(site: Site) -> None:
    restore(site, "legacy", CHAINS)
    done = without_programs(site)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {(row["name"], row["outcome"]) for row in rows} == {
        ("iptables (legacy) nat", "left"),
        ("iptables (legacy) filter", "left"),
    }


def test_to_look_makes_no_table(site: Site) -> None:
    assert site.cleanup("--kube-proxy")["rows"] == []
    assert site.tables() == {"inet administrator"}
    assert site.node.run("cat", "/proc/net/ip_tables_names", check=False) == ""


def test_a_link_of_ipvs_is_told_of(site: Site) -> None:
    site.node.run("ip", "link", "add", "kube-ipvs0", "type", "bridge")
    (row,) = site.cleanup("--kube-proxy")["rows"]
    assert row["outcome"] == "left"
    assert "ipvsadm --clear" in row["why"]


def test_without_the_programs_of_iptables_it_says_so_and_fails(site: Site) -> None:
    restore(site, "nft", CHAINS)
    done = without_programs(site)
    assert done.returncode == 1
    rows = json.loads(done.stdout)["rows"]
    assert {row["outcome"] for row in rows} == {"failed"}
    assert "install iptables" in rows[0]["why"]


def test_podwire_proxy_cleans_up_both(site: Site) -> None:
    for table in ("kube-proxy", "podwire-proxy", "podwire-policy"):
        site.node.run("nft", "add", "table", "ip", table)
    enter = ["nsenter", f"--net=/run/netns/{site.node.name}"]
    command = [sys.executable, "-m", "podwire_node", "proxy", "--cleanup"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*enter, *command], check=False, timeout=60, env=environment)
    assert done.returncode == 0
    assert site.tables() == {"ip podwire-policy", "inet administrator"}
