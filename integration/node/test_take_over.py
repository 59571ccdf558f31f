"""From the real kube-proxy to ours, under traffic: no connection is refused, none breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from control_plane import ControlPlane, control_plane
from real_kube_proxy import CLUSTER_IP, NODE_PORT, Site, kube_proxy_site
from scratch import until
from traffic import Flow, traffic

MODES = ("nftables", "iptables-nft", "iptables-legacy")
OFF = ("--healthz-bind-address=", "--metrics-bind-address=")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


@pytest.fixture
def site(plane: ControlPlane, tmp_path: Path) -> Iterator[Site]:
    with kube_proxy_site(plane, tmp_path) as made:
        yield made


@contextmanager
def everyone_talks(site: Site) -> Iterator[list[Flow]]:
    """From a pod, from the node itself, and from outside to its NodePort."""
    shop, nodeport = (CLUSTER_IP, 80), (site.address, NODE_PORT)
    with (
        traffic(site.client.name, [shop, nodeport], long=3) as pod,
        traffic(site.node.name, [shop], long=3) as host,
        traffic(site.plane.netns.name, [nodeport], long=3) as outside,
    ):
        yield [pod, host, outside]


def start_podwire(site: Site, *words: str) -> None:
    site.podwire(f"--kubeconfig={site.kubeconfig}", "--hostname-override=node1", *OFF, *words)


def kube_proxys_rules(site: Site) -> list[str]:
    """Whatever is there of a kube-proxy, on the node."""
    found = site.node.run("nft", "list", "ruleset").splitlines()
    # Tables of old are made by listing them.
    there = site.node.run("cat", "/proc/net/ip_tables_names", check=False)
    for table in there.split():
        found += site.node.run("iptables-legacy-save", "-t", table).splitlines()
    mine = re.compile(r"table ip6? kube-proxy|KUBE-(?!FIREWALL|KUBELET|IPTABLES-HINT|MARK-DROP)")
    return [line for line in found if mine.search(line)]


def taken_over(site: Site) -> bool:
    return "kube-proxy's leftovers removed" in site.log()


@pytest.mark.parametrize("mode", MODES)
def test_a_kube_proxy_that_has_left_is_taken_over_without_a_refused_connection(
    site: Site, mode: str
) -> None:
    site.stop(site.kube_proxy(mode))
    assert kube_proxys_rules(site)
    with everyone_talks(site) as flows:
        site.podwire(f"--config={site.folder / 'kube-proxy.json'}")  # its own file
        until("kube-proxy's rules are gone", lambda: taken_over(site))
        assert kube_proxys_rules(site) == []
        for flow in flows:
            flow.goes_on(30)
    assert "podwire-proxy" in site.node.run("nft", "list", "tables")
    assert site.status()["problems"] == []
    ask = ("curl", "--noproxy", "*", "-s", "-m", "2")
    assert "lastUpdated" in site.node.run(*ask, "http://127.0.0.1:10256/healthz")
    assert site.node.run(*ask, "http://127.0.0.1:10249/proxyMode") == "nftables"


@pytest.mark.parametrize("mode", MODES)
def test_a_kube_proxy_that_runs_on_is_told_of_once(site: Site, mode: str) -> None:
    kube_proxy = site.kube_proxy(mode)
    with everyone_talks(site) as flows:
        start_podwire(site)
        until("it was tried", lambda: taken_over(site))
        until("it is told", lambda: bool(site.status().get("problems")))
        for flow in flows:
            flow.goes_on(30)
        site.stop(kube_proxy)
    assert site.log().count("two proxies serve this node") == 1
    assert f"kube-proxy (pid {kube_proxy.pid}) still runs here" in site.status()["problems"][0]


def test_one_in_another_container_is_known_by_its_tables(site: Site) -> None:
    """Where podwire cannot see its process, but the kernel tells what it does."""
    site.stop(site.kube_proxy("nftables"))
    alone = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    words = (f"--kubeconfig={site.kubeconfig}", "--hostname-override=node1", *OFF)
    site.podwire(*words, under=alone)
    until("kube-proxy's rules are gone", lambda: taken_over(site))
    assert site.status()["problems"] == []
    kube_proxy = site.kube_proxy("nftables")
    until("it is told", lambda: bool(site.status()["problems"]))
    (problem,) = site.status()["problems"]
    assert problem.startswith("kube-proxy's tables are there again: two proxies serve this node")
    site.stop(kube_proxy)


def test_kube_proxys_rules_stay_until_ours_are_in_force(site: Site) -> None:
    site.stop(site.kube_proxy("nftables"))
    monitor = site.start("monitor.log", "nft", "monitor")
    until("nft listens", lambda: _listens(site, monitor.pid))
    start_podwire(site)
    until("kube-proxy's rules are gone", lambda: taken_over(site))
    until("it was announced", lambda: "delete table ip6 kube-proxy" in site.log("monitor.log"))
    lines = site.log("monitor.log").splitlines()
    (gone,) = (at for at, line in enumerate(lines) if line.startswith("delete table ip kube-proxy"))
    ours = [at for at, line in enumerate(lines) if "podwire-proxy" in line and CLUSTER_IP in line]
    assert ours
    assert max(ours) < gone


def _listens(site: Site, pid: int) -> bool:
    """Whether a process of the node has a netlink socket in nftables' group."""
    rows = site.node.run("cat", "/proc/net/netlink").splitlines()
    return any(row.split()[1:4:2][0] == "12" and row.split()[2] == str(pid) for row in rows[1:])


def test_turned_off_nothing_of_kube_proxy_is_touched(site: Site) -> None:
    site.stop(site.kube_proxy("nftables"))
    before = kube_proxys_rules(site)
    start_podwire(site, "--take-over=false")
    until("podwire is ready", lambda: site.status().get("ready", False))
    assert kube_proxys_rules(site) == before
    assert site.serves()
