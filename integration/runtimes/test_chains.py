"""The stock plugins of containernetworking-plugins, chained behind ours as their users do."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cnitool import CniTool
from scratch import Netns, until

from .conftest import CLEAN, NODE_ADDRESSES, Site, connects, listening, pings

NewNetns = Callable[[], Netns]

PORTMAP: dict[str, Any] = {"type": "portmap", "capabilities": {"portMappings": True}}
BANDWIDTH: dict[str, Any] = {"type": "bandwidth", "capabilities": {"bandwidth": True}}
TUNING: dict[str, Any] = {
    "type": "tuning",
    "sysctl": {"net.ipv4.conf.eth0.arp_notify": "1"},
    "mtu": 1400,
}
FIREWALL: dict[str, Any] = {"type": "firewall", "backend": "iptables"}
CHAINS = {
    "portmap": [PORTMAP],
    "bandwidth": [BANDWIDTH],
    "tuning": [TUNING],
    "firewall": [FIREWALL],
    "all but portmap": [BANDWIDTH, TUNING, FIREWALL],
    "all": [PORTMAP, BANDWIDTH, TUNING, FIREWALL],
}
PORT = 8888
RATE = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
RATE |= {"egressRate": 8_000_000, "egressBurst": 800_000}
CAPABILITIES = {
    "portMappings": [{"hostPort": PORT, "containerPort": 8080, "protocol": "tcp"}],
    "bandwidth": RATE,
}


#: Which connections there were in the last hour, for `podwire policy audit`: no rule looks into it.
SEEN = re.compile(r"set seen \{.*?\n\t\}", re.DOTALL)


def state(node: Netns) -> str:
    """All that plugins could leave on a node: links, routes, rules, queues."""
    links = [link["ifname"] for link in json.loads(node.run("ip", "-json", "link"))]
    routes = [node.run("ip", family, "route", "show", "table", "all") for family in ("-4", "-6")]
    rules = SEEN.sub("", node.run("nft", "--stateless", "list", "ruleset"))
    return "\n".join([*links, *routes, rules, node.run("tc", "qdisc")])


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest, site: Site) -> list[dict[str, Any]]:
    """What is chained behind us; it is configured."""
    plugins = CHAINS[request.param]
    for plugin in plugins:
        if not Path("/usr/lib/cni", plugin["type"]).exists():
            pytest.skip("needs containernetworking-plugins: `make runtimes` installs them")
    site.configure(*plugins)
    return plugins


def test_a_chain_lives_its_whole_life_and_leaves_nothing(
    site: Site, cnitool: CniTool, new_netns: NewNetns, chain: list[dict[str, Any]]
) -> None:
    """Twice: what the stock plugins make once for all pods is there before the second."""
    before = ""
    for _ in range(2):
        pod = new_netns()
        added = cnitool.call("add", pod, CAPABILITIES)
        assert added.returncode == 0, added
        own = [each["address"].split("/")[0] for each in json.loads(added.stdout)["ips"]]
        _works(site, pod, own, chain)
        checked = cnitool.call("check", pod, CAPABILITIES)
        assert checked.returncode == 0 or _portmap_refuses(chain, checked.stderr), checked
        for _ in range(2):
            gone = cnitool.call("del", pod, CAPABILITIES)
            assert gone.returncode == 0, gone
        assert site.traces() == CLEAN
        after = state(site.node)
        assert not [address for address in own if address in after]
        assert after == (before or after)
        before = after


def _portmap_refuses(chain: list[dict[str, Any]], words: str) -> bool:
    """Debian 12's portmap finds no pod right, behind ptp neither: it looks for rules of one family
    in the other's tables. Ours was asked before."""
    return PORTMAP in chain and " dnat: " in words


def _works(site: Site, pod: Netns, own: list[str], chain: list[dict[str, Any]]) -> None:
    assert all(pings(site.node, address) and pings(site.peer, address) for address in own)
    queues = site.node.run("tc", "qdisc")
    if PORTMAP in chain:
        with listening(pod):
            for address in NODE_ADDRESSES:
                assert connects(site.peer, address, PORT), address
    assert queues.count("tbf") == (2 if BANDWIDTH in chain else 0)
    (link,) = json.loads(pod.run("ip", "-json", "link", "show", "dev", "eth0"))
    assert (link["mtu"] == 1400) == (TUNING in chain)
    assert own[0] in state(site.node) or FIREWALL not in chain


def test_a_chain_whose_last_plugin_fails_leaves_nothing(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(PORTMAP, {"type": "tuning", "sysctl": {"net.ipv4.no_such": "1"}})
    pod = new_netns()
    assert cnitool.call("add", pod, CAPABILITIES).returncode != 0
    assert cnitool.call("del", pod, CAPABILITIES).returncode == 0
    until("nothing is left", lambda: site.traces() == CLEAN)
    assert not re.search(rf"\b{PORT}\b", state(site.node))
