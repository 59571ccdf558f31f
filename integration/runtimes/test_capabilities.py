"""What runtimes ask of our plugin itself by runtimeConfig, through the reference's library."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from cnitool import CniTool
from scratch import Netns

from .conftest import (
    ALONE,
    CLEAN,
    NODE_ADDRESSES,
    RANGES,
    WITH_AGENT,
    Site,
    connects,
    listening,
    pings,
)

NewNetns = Callable[[], Netns]

PORT = 8888
PORTS = {"portMappings": [{"hostPort": PORT, "containerPort": 8080, "protocol": "tcp"}]}
RATE = {"ingressRate": 8_000_000, "ingressBurst": 800_000}
RATE |= {"egressRate": 8_000_000, "egressBurst": 800_000}


def add(cnitool: CniTool, pod: Netns, asked: dict[str, object]) -> list[str]:
    """The addresses that a pod got."""
    done = cnitool.call("add", pod, asked)
    assert done.returncode == 0, done
    return [each["address"].split("/")[0] for each in json.loads(done.stdout)["ips"]]


def delete(cnitool: CniTool, pod: Netns, asked: dict[str, object]) -> None:
    for _ in range(2):
        done = cnitool.call("del", pod, asked)
        assert (done.returncode, done.stdout) == (0, ""), done


@WITH_AGENT
def test_a_host_port_of_ours_answers_and_goes_with_its_pod(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"portMappings": True})
    pod, other = new_netns(), new_netns()
    add(cnitool, other, {})
    add(cnitool, pod, dict(PORTS))
    with listening(pod):
        for where in (site.peer, site.node, other, pod):
            for address in NODE_ADDRESSES:
                assert connects(where, address, PORT), (where, address)
        checked = cnitool.call("check", pod, PORTS)
        assert checked.returncode == 0, checked
        delete(cnitool, pod, dict(PORTS))
    assert not connects(site.peer, NODE_ADDRESSES[0], PORT)
    assert not re.search(rf"\b{PORT}\b", site.node.run("nft", "list", "ruleset"))
    delete(cnitool, other, {})
    assert site.traces() == CLEAN


@WITH_AGENT
def test_a_host_port_of_another_pod_is_refused_and_the_pod_named(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"portMappings": True})
    pod, late = new_netns(), new_netns()
    add(cnitool, pod, dict(PORTS))
    refused = cnitool.call("add", late, PORTS)
    assert refused.returncode != 0
    assert str(PORT) in refused.stderr
    delete(cnitool, late, dict(PORTS))
    with listening(pod):
        assert connects(site.peer, NODE_ADDRESSES[0], PORT)
    delete(cnitool, pod, dict(PORTS))
    add(cnitool, late, dict(PORTS))
    delete(cnitool, late, dict(PORTS))
    assert site.traces() == CLEAN


@ALONE
def test_without_an_agent_a_host_port_is_refused_by_name(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"portMappings": True})
    done = cnitool.call("add", new_netns(), PORTS)
    assert done.returncode != 0
    assert "portMappings" in done.stderr
    assert site.traces() == CLEAN


def test_bandwidth_is_limited_both_ways_and_its_queues_go(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"bandwidth": True})
    pod, asked = new_netns(), {"bandwidth": RATE}
    before = site.node.run("tc", "qdisc")
    own = add(cnitool, pod, dict(asked))
    queues = site.node.run("tc", "qdisc") + pod.run("tc", "qdisc")
    assert queues.count("tbf") == 2, queues
    assert queues.count("8Mbit") == 2, queues
    assert all(pings(site.peer, address) for address in own)
    checked = cnitool.call("check", pod, asked)
    assert checked.returncode == 0, checked
    delete(cnitool, pod, dict(asked))
    assert site.node.run("tc", "qdisc") == before
    assert site.traces() == CLEAN


def test_addresses_and_mac_that_are_asked_for_are_given(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"ips": True, "mac": True})
    wanted, mac = ["10.244.1.77", "fd00:10:244:1::77"], "02:00:00:00:00:77"
    pod, late = new_netns(), new_netns()
    asked = {"ips": wanted, "mac": mac}
    assert add(cnitool, pod, dict(asked)) == wanted
    (link,) = json.loads(pod.run("ip", "-json", "link", "show", "dev", "eth0"))
    assert link["address"] == mac
    assert all(pings(site.peer, address) for address in wanted)
    refused = cnitool.call("add", late, asked)
    assert refused.returncode != 0
    assert wanted[0] in refused.stderr
    for each in (late, pod):
        delete(cnitool, each, dict(asked))
    assert site.traces() == CLEAN


def test_a_range_that_is_asked_for_is_kept_to(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(capabilities={"ipRanges": True})
    subnets = [
        {"subnet": RANGES[0], "rangeStart": "10.244.1.100", "rangeEnd": "10.244.1.101"},
        {"subnet": RANGES[1]},
    ]
    pod, asked = new_netns(), {"ipRanges": [[each] for each in subnets]}
    assert add(cnitool, pod, dict(asked))[0] == "10.244.1.100"
    delete(cnitool, pod, dict(asked))
    assert site.traces() == CLEAN
