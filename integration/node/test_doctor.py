"""`podwire doctor` on real namespaces and programs: it finds what is broken, changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from scratch import Netns, until
from socket_site import SocketSite, socket_site

from podwire_ebpf import links
from podwire_ebpf.features import netns_cookie
from podwire_node.control.server import Control
from podwire_node.doctor.state import AgentState, state_verb
from podwire_node.reports.status import Status

STATUS = Status(
    node="n1",
    pid=7,
    ready=True,
    ready_seconds=1.0,
    objects=3,
    routes=0,
    transactions={},
    repairs={},
    failures={},
    in_sync=True,
    components=("proxy",),
)
Rows = dict[str, dict[str, str]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SocketSite]:
    folder = tmp_path / "bpffs"
    folder.mkdir()
    with socket_site(folder) as made:
        yield made


@pytest.fixture
def agent(site: SocketSite, tmp_path: Path) -> Iterator[Path]:
    """One that says that programs serve the site's cgroup."""
    place = site.plane.place
    state = AgentState(STATUS, "ebpf", "ebpf", "", str(place.cgroup), str(place.folder))
    path = tmp_path / "control/agent.sock"
    with closing(Control(path, {"state": state_verb(lambda: state)})):
        yield path


@pytest.fixture
def node(new_netns: Callable[[], Netns]) -> Netns:
    return new_netns()


def examined(netns: Netns, agent: Path | str = "/nonexistent/agent.sock") -> tuple[int, Rows]:
    """Its exit code, and its rows by name."""
    command = [sys.executable, "-m", "podwire_node", "doctor", "--json"]
    command += ["--socket", str(agent)]
    done = subprocess.run(
        ["nsenter", f"--net=/run/netns/{netns.name}", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr
    document = json.loads(done.stdout)
    assert document["healthy"] is (done.returncode == 0)
    return done.returncode, {row["name"]: row for row in document["checks"]}


def health(rows: Rows, *names: str) -> list[str]:
    return [rows[name]["health"] for name in names]


PROGRAMS = ("programs", "canary IPv4", "canary IPv6")


def test_programs_that_are_reached_are_well(site: SocketSite, agent: Path) -> None:
    _, rows = examined(site.client, agent)
    assert health(rows, *PROGRAMS, "bpf(2)", "bpffs", "compiler", "agent", "backend") == ["ok"] * 8
    assert "each once" in rows["programs"]["seen"]
    assert rows["cgroup"]["health"] == "warn", "it is not the root of the mount"


def test_programs_that_are_gone_are_named_each(site: SocketSite, agent: Path) -> None:
    for link in (site.plane.place.folder / "links").iterdir():
        if "connect4" in link.name:
            link.unlink()
    cgroup = site.plane.place.cgroup
    until("the kernel has let go", lambda: not links.in_effect(cgroup)["connect4"])
    code, rows = examined(site.client, agent)
    assert code == 1
    assert health(rows, *PROGRAMS) == ["fail", "fail", "ok"]
    assert rows["programs"]["seen"] == "not in effect: connect4"
    assert "attaches them again within a minute" in rows["programs"]["advice"]
    assert rows["canary IPv4"]["advice"] == "see programs"


def says(state: AgentState, folder: Path, site: SocketSite) -> tuple[int, Rows]:
    """What is found where an agent says this."""
    path = folder / "control/another.sock"
    with closing(Control(path, {"state": state_verb(lambda: state)})):
        return examined(site.client, path)


def test_a_cgroup_that_is_none_is_told_once(site: SocketSite, tmp_path: Path) -> None:
    state = AgentState(STATUS, "ebpf", "ebpf", "", str(tmp_path), str(site.plane.place.folder))
    code, rows = says(state, tmp_path, site)
    assert code == 1
    assert "is not on cgroup2" in rows["cgroup"]["seen"]
    assert rows["programs"]["advice"] == "see cgroup"
    assert health(rows, *PROGRAMS) == ["fail", "not used", "not used"]


def test_an_agent_that_fell_back_is_told_all_that_is_missing(
    site: SocketSite, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "none")
    state = AgentState(STATUS, "auto", "nftables", "no bcc", nowhere, nowhere)
    _, rows = says(state, tmp_path, site)
    assert health(rows, "bpf(2)", "bpffs", "cgroup", "compiler") == ["ok", "warn", "warn", "ok"]
    assert health(rows, "backend", *PROGRAMS) == ["warn", *["not used"] * 3]


def test_mode_auto_that_lost_its_programs_is_no_earlier_agents(
    site: SocketSite, tmp_path: Path
) -> None:
    with site.client.inside():
        site.plane.settings(netns_cookie() or 0)
    place = site.plane.place
    for link in (place.folder / "links").iterdir():
        link.unlink()
    until("the kernel has let go", lambda: not any(links.in_effect(place.cgroup).values()))
    why = "sockets are not served: not attached: connect4"
    state = AgentState(STATUS, "auto", "nftables", why, str(place.cgroup), str(place.folder))
    _, rows = says(state, tmp_path, site)
    assert health(rows, *PROGRAMS) == ["warn"] * 3
    assert rows["programs"]["seen"].startswith("not in effect: ")
    assert rows["canary IPv6"]["advice"] == "see programs"


def test_bpffs_that_an_agent_mounts_itself_is_no_failure(tmp_path: Path, node: Netns) -> None:
    """In a mount namespace of its own, whose /sys has none; nothing is mounted."""
    (tmp_path / "agent.yaml").write_text("proxyMode: ebpf\nebpfFolder: /sys/fs/bpf/podwire-none\n")
    unmount = "while umount /sys/fs/bpf 2>/dev/null; do :; done"
    doctor = f"{sys.executable} -m podwire_node doctor --json --config {tmp_path}/agent.yaml"
    script = f"{unmount}; {doctor}; mountpoint -q /sys/fs/bpf || echo bare >&2"
    inside = ["nsenter", f"--net=/run/netns/{node.name}", "unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=120, check=False)
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert rows["bpffs"]["health"] == "warn"
    assert "an agent mounts one when it starts" in rows["bpffs"]["seen"]
    assert done.stderr == "bare\n"


def test_maps_that_nobody_pinned_are_a_fail(site: SocketSite, tmp_path: Path) -> None:
    place = site.plane.place
    state = AgentState(STATUS, "ebpf", "ebpf", "", str(place.cgroup), f"{place.folder}-none")
    path = tmp_path / "control/other.sock"
    with closing(Control(path, {"state": state_verb(lambda: state)})):
        code, rows = examined(site.client, path)
    assert code == 1
    assert health(rows, *PROGRAMS) == ["fail", "not used", "not used"]


def test_programs_that_nobody_asks_for_any_more_are_told(site: SocketSite, tmp_path: Path) -> None:
    with site.client.inside():
        site.plane.settings(netns_cookie() or 0)
    place = site.plane.place
    state = AgentState(STATUS, "nftables", "nftables", "", str(place.cgroup), str(place.folder))
    path = tmp_path / "control/other.sock"
    with closing(Control(path, {"state": state_verb(lambda: state)})):
        _, rows = examined(site.client, path)
        _, elsewhere = examined(site.server, path)
    assert rows["programs"]["health"] == "warn"
    assert "podwire cleanup" in rows["programs"]["advice"]
    assert elsewhere["programs"]["health"] == "not used", "they are another node's"


def test_the_current_folder_lends_no_modules(
    site: SocketSite, agent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bcc.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    _, rows = examined(site.client, agent)
    assert health(rows, "compiler", *PROGRAMS) == ["ok"] * 4
    assert not (tmp_path / "ran").exists()


def test_it_changes_nothing(site: SocketSite, agent: Path) -> None:
    def state() -> list[object]:
        cgroup = site.plane.place.cgroup
        folder = site.plane.place.folder
        pins = sorted(str(path) for path in folder.rglob("*"))
        below = sorted(path.name for path in cgroup.iterdir() if path.is_dir())
        ruleset = site.client.run("nft", "list", "ruleset")
        sysctls = site.client.run("sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter")
        return [pins, below, ruleset, sysctls, site.plane.tables.frontends.read()]

    before = state()
    examined(site.client, agent)
    assert state() == before


def test_a_bare_namespace_lacks_an_agent_tables_and_forwarding(
    new_netns: Callable[[], Netns],
) -> None:
    netns = new_netns()
    netns.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    code, rows = examined(netns)
    assert code == 1
    assert health(rows, "agent", "nftables", "forwarding") == ["fail"] * 3
    assert health(rows, *PROGRAMS) == ["not used"] * 3
    assert "podwire-proxy" in rows["nftables"]["seen"]


def test_our_tables_alone_are_looked_for(new_netns: Callable[[], Netns], tmp_path: Path) -> None:
    netns = new_netns()
    for family in ("ip", "ip6"):
        netns.run("nft", f"add table {family} podwire-proxy")
    netns.run("nft", "add table ip somebody-else")
    netns.run("sysctl", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    path = tmp_path / "control/agent.sock"
    with closing(
        Control(path, {"state": state_verb(lambda: AgentState(STATUS, "nftables", "nftables"))})
    ):
        code, rows = examined(netns, path)
    assert (code, rows["nftables"]["seen"]) == (0, "podwire-proxy")
    assert health(rows, "forwarding", "agent", "backend") == ["ok"] * 3
    assert "somebody-else" not in json.dumps(rows)


def test_it_says_so_where_it_may_not_look(new_netns: Callable[[], Netns]) -> None:
    netns = new_netns()
    command = [sys.executable, "-m", "podwire_node", "doctor", "--json"]
    inside = f"--net=/run/netns/{netns.name}"
    done = subprocess.run(
        ["nsenter", inside, "setpriv", "--bounding-set=-all", "--inh-caps=-all", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PODWIRE_PROXY_MODE": "nftables"},
    )
    rows = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert rows["nftables"]["advice"].startswith("run as root")
