"""Real programs tell of real sockets: pods' names, Services, endpoints, and what was refused."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from scratch import Netns, until
from socket_site import EMPTY, VIP, VIP6, SocketPart, SocketSite, socket_site
from still_view import StillView

from podwire_ebpf.features import netns_cookie
from podwire_ebpf.plane import open_tables
from podwire_ebpf.records import Flag
from podwire_node.control.server import Control
from podwire_node.observe.namespaces import Namespaces
from podwire_node.observe.translations import Translations
from podwire_node.observe.verb import observe_verb


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SocketSite]:
    with socket_site(tmp_path_factory.mktemp("bpffs")) as made:
        yield made


@pytest.fixture
def path(site: SocketSite, tmp_path: Path) -> Iterator[Path]:
    part = SocketPart(site.plane, netns_cookie() or 0)
    translations = Translations(StillView("node1"), part)  # type: ignore[arg-type]  # it answers what is asked
    found = tmp_path / "control/agent.sock"
    verbs = {"observe": observe_verb(None, translations)}
    with closing(translations), closing(Control(found, verbs)):
        yield found


def is_observed(site: SocketSite) -> bool:
    with closing(open_tables(site.plane.place)) as tables:
        settings = tables.settings.get(0)
    return settings is not None and bool(settings.flags & Flag.OBSERVED)


@contextmanager
def following(
    site: SocketSite, path: Path, *words: str, types: Sequence[str] = ("--type", "trace-sock")
) -> Iterator[Iterator[dict[str, Any]]]:
    """`podwire observe` as a process; what it prints, flow by flow."""
    command = [sys.executable, "-m", "podwire_node", "observe", *types, "-f"]
    command += ["--json", "--socket", str(path), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            until("the programs tell", lambda: is_observed(site))
            yield map(json.loads, process.stdout)
        finally:
            process.kill()
    until("the programs tell no more", lambda: not is_observed(site))


def test_nothing_is_told_while_nobody_follows(site: SocketSite, path: Path) -> None:
    assert path.exists()
    with closing(site.plane.events()) as events:
        assert site.dial(f"{VIP}/80") == ["connected"]
        assert events.read() == []


def test_who_follows_sees_pods_services_and_endpoints(site: SocketSite, path: Path) -> None:
    with following(site, path) as flows:
        assert site.dial(f"{VIP}/80", f"{VIP6}/80") == ["connected"] * 2
        first, second = itertools.islice(flows, 2)
    assert first["verdict"] == second["verdict"] == "TRANSLATED"
    assert (first["source"]["pod_name"], first["destination"]["pod_name"]) == ("frontend", "db")
    assert first["destination_service"] == {"name": "db", "namespace": "shop"}
    assert first["IP"] == {"source": "10.244.1.4", "destination": "10.244.2.5", "ipVersion": "IPv4"}
    assert second["IP"]["source"] == "fd00::1:4"
    assert (first["dialled"], second["dialled"]) == ("10.96.0.13:80", "[fd00:96::d]:80")
    assert first["l4"] == {"TCP": {"source_port": 0, "destination_port": 5432}}
    assert int(first["socket_cookie"]) > 0
    assert int(first["cgroup_id"]) == site.plane.place.cgroup.stat().st_ino


def test_a_refused_call_is_told_with_its_reason(site: SocketSite, path: Path) -> None:
    with following(site, path, "--verdict", "dropped", "--service", "shop/empty") as flows:
        assert site.dial(f"{VIP}/80", f"{EMPTY}/80") == ["connected", "Connection refused"]
        found = next(flows)
    assert found["drop_reason_desc"] == "SERVICE_BACKEND_NOT_FOUND"
    assert found["reason"].startswith("Service shop/empty: has no endpoint")


def test_dropped_alone_means_refused_calls_too(site: SocketSite, path: Path) -> None:
    with following(site, path, "--verdict", "dropped", types=()) as flows:
        assert site.dial(f"{VIP}/80", f"{EMPTY}/80") == ["connected", "Connection refused"]
        assert next(flows)["drop_reason_desc"] == "SERVICE_BACKEND_NOT_FOUND"


def test_a_thousand_calls_are_all_told_or_counted(site: SocketSite, path: Path) -> None:
    with following(site, path) as flows:
        assert set(site.dial(*[f"{VIP}/80"] * 1000)) == {"connected"}
        told, lost = 0, 0
        while told + lost < 1000:
            flow = next(flows)
            lost += flow.get("lost_events", {}).get("num_events_lost", 0)
            told += "verdict" in flow
    assert (told, lost) == (1000, 0)


def test_the_flag_goes_when_who_followed_is_killed(site: SocketSite, path: Path) -> None:
    with following(site, path):
        assert is_observed(site)
    assert not is_observed(site)


def test_namespaces_are_found_by_their_cookies(
    site: SocketSite, new_netns: Callable[[], Netns]
) -> None:
    namespaces = Namespaces()
    with site.client.inside():
        cookie = netns_cookie()
    assert cookie is not None
    assert namespaces.addresses(cookie) == ("10.244.1.4", "fd00::1:4")
    assert namespaces.addresses(cookie + 1_000_000) is None
    later = new_netns()
    later.ip(["addr add 10.244.9.9/32 dev lo"])
    with later.inside():
        unknown = netns_cookie()
    assert unknown is not None
    until("a new one is found", lambda: namespaces.addresses(unknown) == ("10.244.9.9",))
