"""`podwire dump ebpf` reads real maps: names where an agent gives them, bytes on request."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import bpf_place
import pytest
import scratch
from agent_process import AgentProcess
from socket_site import EMPTY, LABELS, SERVER, VIP, SocketPart, SocketSite, socket_site
from still_view import StillView

from podwire_ebpf.features import netns_cookie
from podwire_ebpf.layout import TABLES
from podwire_ebpf.plane import open_plane
from podwire_ebpf.records import Endpoint, Frontend, FrontendKey
from podwire_ebpf.rows import Change
from podwire_node.control.server import Control
from podwire_node.dump.verb import names_verb

NOBODY = "/nonexistent/agent.sock"
DNS = {
    FrontendKey(VIP, 53, 6): "kube-system/kube-dns:dns-tcp",
    FrontendKey(VIP, 53, 17): "kube-system/kube-dns:dns",
}

_ASK = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.connect((sys.argv[1], 53))
print("asked", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketSite]:
    with socket_site(tmp_path_factory.mktemp("bpffs")) as made:
        assert made.dial(f"{VIP}/80", f"{VIP}/80", f"{EMPTY}/80") == [
            *("connected", "connected", "Connection refused")
        ]
        yield made


@pytest.fixture(scope="module")
def agent(site: SocketSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    part = SocketPart(site.plane, netns_cookie() or 0)
    path = tmp_path_factory.mktemp("control") / "agent.sock"
    verbs = {"names": names_verb(StillView("node1"), part, "ebpf")}  # type: ignore[arg-type]  # it answers what is asked
    with closing(Control(path, verbs)):
        yield path


def run(
    site: SocketSite, *words: str, agent: Path | str = NOBODY
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "podwire_node", "dump", "ebpf", *words]
    command += ["--folder", str(site.plane.place.folder), "--socket", str(agent)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={"COLUMNS": "200"}
    )


def ask(*words: str) -> subprocess.CompletedProcess[str]:
    """The same without the site's folder."""
    command = [sys.executable, "-m", "podwire_node", "dump", "ebpf", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={"COLUMNS": "80"}
    )


def tables(site: SocketSite, *words: str, agent: Path | str = NOBODY) -> dict[str, Any]:
    done = run(site, *words, "--json", agent=agent)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout)["tables"])


def test_every_map_is_there_decoded_into_names(site: SocketSite, agent: Path) -> None:
    found = tables(site, agent=agent)
    assert found.keys() == TABLES.keys()
    by_dialled = {each["Dialled"]: each for each in found["frontends"]["rows"]}
    assert by_dialled["10.96.0.13:80/TCP"] == {
        "service": "shop/db:sql",
        "Dialled": "10.96.0.13:80/TCP",
        "Asked from": "inside",
        "Service": "shop/db:sql",
        "Endpoints": "10.244.2.5:5432 shop/db",
        "Affinity": "60 s",
        "Counter": "1",
        "List": "00000000000000d1",
    }
    assert by_dialled["10.96.0.14:80/TCP"]["Endpoints"] == "none: refused"
    assert "node:30080/TCP (IPv4)" in by_dialled
    (clients,) = found["affinity"]["rows"]
    assert clients["Client"] == "shop/frontend"
    assert clients["Went to"] == "10.244.2.5:5432 shop/db"
    assert found["members"]["rows"][0]["service"] == "shop/db:sql"


def test_counters_are_sums_over_processors_by_service(site: SocketSite, agent: Path) -> None:
    rows = {
        each["Service"]: each for each in tables(site, "counters", agent=agent)["counters"]["rows"]
    }
    assert (rows["shop/db:sql"]["Connections"], rows["shop/db:sql"]["Refused"]) == ("2", "0")
    assert (rows["shop/empty:"]["Connections"], rows["shop/empty:"]["Refused"]) == ("0", "1")


def test_frontends_that_are_left_to_nftables_have_their_reasons(
    site: SocketSite, agent: Path
) -> None:
    done = json.loads(run(site, "--json", agent=agent).stdout)
    assert done["left_to_nftables"] == [
        {"dialled": "10.96.0.15:443/TCP", "service": "", "reason": "loadBalancerSourceRanges"}
    ]
    assert "loadBalancerSourceRanges" in run(site, "frontends", agent=agent).stdout


def test_without_an_agent_there_are_addresses_and_it_says_so(site: SocketSite) -> None:
    done = run(site, "frontends")
    assert done.returncode == 0
    assert "addresses without names" in done.stderr
    assert "no agent listens here" in done.stderr
    assert "10.244.2.5:5432" in done.stdout
    assert "shop/db" not in done.stdout
    assert "list 00000000000000d1" in done.stdout


def test_raw_bytes_are_those_of_the_kernel(site: SocketSite) -> None:
    rows = tables(site, "addresses", "--raw")["addresses"]["rows"]
    (row,) = rows
    assert row["key"] == "00000000000000000000ffffc0a80701"
    assert row["value"] == "01000000"
    key = next(iter(LABELS))
    packed = TABLES["frontends"].key.pack(key).hex()
    assert packed in {
        each["key"] for each in tables(site, "frontends", "--raw")["frontends"]["rows"]
    }
    assert "c0a80701" in run(site, "addresses", "--raw").stdout


def test_rows_are_chosen_by_service_and_by_address(site: SocketSite, agent: Path) -> None:
    def dialled(*words: str) -> set[str]:
        rows = tables(site, "frontends", *words, agent=agent)["frontends"]["rows"]
        return {each["Dialled"] for each in rows}

    assert dialled("--service", "shop/emp") == {"10.96.0.14:80/TCP"}
    assert dialled("--address", "fd00:0:0:0::2:5") == {"[fd00:96::d]:80/TCP"}
    assert dialled("--service", "shop/db", "--address", EMPTY) == set()


def test_what_is_left_out_is_told(site: SocketSite) -> None:
    found = tables(site, "frontends", "--limit", "1")["frontends"]
    assert (len(found["rows"]), found["entries"], found["left_out"]) == (1, 4, 3)
    assert "4 entries, 3 of them left out" in run(site, "frontends", "--limit", "1").stdout


def test_where_nothing_is_pinned_it_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "podwire_node", "dump", "ebpf", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no maps of this version are pinned" in done.stderr


def test_several_agents_have_each_its_own_maps_under_its_nodes_name(
    site: SocketSite, agent: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.sock"
    words = ["addresses", "--socket", str(agent), "--socket", str(second)]
    (tmp_path / "bpffs").mkdir()
    with ExitStack() as stack:
        place = stack.enter_context(bpf_place.place(tmp_path / "bpffs"))
        plane = stack.enter_context(closing(open_plane(place)))
        plane.apply(Change(addresses={"192.168.7.2": True}))
        verb = names_verb(StillView("node2"), SocketPart(plane), "ebpf")  # type: ignore[arg-type]  # see agent()
        stack.enter_context(closing(Control(second, {"names": verb})))
        people, programs = ask(*words), ask(*words, "--json")
    assert people.returncode == programs.returncode == 0, people.stderr
    title = ["addresses: 1 entry", "NodePorts answer at"]
    first, then = (part.split("\n") for part in people.stdout.strip().split("\n\n"))
    assert first == ["node1", *title, "192.168.7.1"]
    assert then == ["node2", *title, "192.168.7.2"]
    one, two = json.loads("[" + programs.stdout.replace("\n}\n{", "\n},{") + "]")
    assert (one["node"], one["folder"]) == ("node1", str(site.plane.place.folder))
    assert (two["node"], two["folder"]) == ("node2", str(place.folder))


def test_what_a_udp_socket_dialled_has_the_name_of_the_udp_port(
    site: SocketSite, tmp_path: Path
) -> None:
    path = tmp_path / "agent.sock"
    value = Frontend(0xD5, 1, first=(Endpoint(SERVER[0], 5353),))
    part = SocketPart(site.plane, labels={**LABELS, **DNS})
    verbs = {"names": names_verb(StillView("node1"), part, "ebpf")}  # type: ignore[arg-type]  # see agent()
    with ExitStack() as stack:
        stack.enter_context(closing(Control(path, verbs)))
        stack.callback(site.plane.apply, Change(frontends=dict.fromkeys(DNS)))
        site.plane.apply(Change(frontends=dict.fromkeys(DNS, value)))
        asking = subprocess.Popen(
            [
                *("sh", "-c", f'echo $$ > {site.place.cgroup}/cgroup.procs; exec "$@"', "sh"),
                *("nsenter", f"--net=/run/netns/{site.client.name}"),
                *(sys.executable, "-c", _ASK, VIP),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(asking.communicate)
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asked\n"
        (row,) = tables(site, "reverse", agent=path)["reverse"]["rows"]
        words = ("reverse", "--service", "kube-system/kube-dns:dns-tcp")
        tcp = tables(site, *words, agent=path)["reverse"]["rows"]
    assert (row["Dialled"], row["Service"]) == (f"{VIP}:53", "kube-system/kube-dns:dns")
    assert row["Endpoint"] == f"{SERVER[0]}:5353 shop/db"
    assert tcp == []


def test_an_agent_that_fell_back_to_nftables_says_so_and_why(tmp_path: Path) -> None:
    path, nowhere = tmp_path / "agent.sock", tmp_path / "no-bpffs"
    options = ("--proxy-mode", "auto", "--control-socket", str(path))
    with ExitStack() as stack:
        netns = scratch.make()
        stack.callback(scratch.remove, netns)
        (tmp_path / "bpffs").mkdir()
        place = stack.enter_context(bpf_place.place(tmp_path / "bpffs"))
        agent = AgentProcess(netns, place, tmp_path, *options, "--ebpf-folder", str(nowhere))
        stack.callback(agent.kill)
        agent.lead(1)
        agent.start()
        done = ask("--socket", str(path))
    assert done.returncode == 1
    assert "nftables serves Services here: " in done.stderr
    assert "is not on bpffs" in done.stderr


def test_rows_fit_80_columns_and_have_their_bytes_below(site: SocketSite, agent: Path) -> None:
    words = ("frontends", "--service", "shop/db", "--raw", "--folder")
    done = ask(*words, str(site.plane.place.folder), "--socket", str(agent))
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "10.244.2.5:5432 shop/db" in done.stdout
    assert "  list    00000000000000d1" in lines
    key = TABLES["frontends"].key.pack(FrontendKey(VIP, 80, 6)).hex()
    assert any(line.startswith("  key") and line[10:].replace(" ", "") == key for line in lines)
