"""podman's CNI backend: names, chained portmap, addresses and MACs that people ask for."""

from __future__ import annotations

import json
from functools import partial

from busybox_image import SERVE
from podman import Podman
from scratch import until

from .conftest import CLEAN, NODE_ADDRESSES, PEER_ADDRESSES, WITH_AGENT, Site, pings

PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}


def run(engine: Podman, name: str, *options: str, command: tuple[str, ...] = SERVE) -> None:
    engine.run(name, "--network", "podwire", *options, command=command)


def addresses(engine: Podman, name: str) -> list[str]:
    inspected = json.loads(engine("inspect", name))
    network = inspected[0]["NetworkSettings"]["Networks"]["podwire"]
    return [network["IPAddress"], network["GlobalIPv6Address"]]


def page(site: Site, address: str, port: int) -> str:
    command = ["curl", "--noproxy", "*", "-s", "-m", "5", f"http://{address}:{port}/"]
    return site.peer.run(*command, check=False)


def _answers(site: Site, address: str, port: int) -> bool:
    return page(site, address, port) == "served\n"


def test_two_containers_reach_each_other(site: Site, engine: Podman) -> None:
    site.configure()
    run(engine, "web")
    run(engine, "shop")
    for address in addresses(engine, "web"):
        assert pings(site.node, address)
        assert pings(site.peer, address)
        engine("exec", "shop", "ping", "-c1", "-W2", address)
    for address in (*NODE_ADDRESSES, *PEER_ADDRESSES):
        engine("exec", "shop", "ping", "-c1", "-W2", address)
    for name in ("web", "shop"):
        engine("rm", "--force", "--time", "0", name)
    assert site.traces() == CLEAN


def test_a_port_is_published_by_portmap_behind_us(site: Site, engine: Podman) -> None:
    site.configure(PORTMAP)
    run(engine, "web", "--publish", "8888:8080")
    until("the port answers", partial(_answers, site, NODE_ADDRESSES[0], 8888))
    engine("rm", "--force", "--time", "0", "web")
    assert page(site, NODE_ADDRESSES[0], 8888) == ""
    assert site.traces() == CLEAN


@WITH_AGENT
def test_a_port_is_published_by_our_agent(site: Site, engine: Podman) -> None:
    site.configure(capabilities={"portMappings": True})
    run(engine, "web", "--publish", "8888:8080")
    for address in (NODE_ADDRESSES[0], f"[{NODE_ADDRESSES[1]}]"):
        until("the port answers", partial(_answers, site, address, 8888))
    engine("rm", "--force", "--time", "0", "web")
    assert page(site, NODE_ADDRESSES[0], 8888) == ""
    assert site.traces() == CLEAN


def test_an_address_and_a_mac_that_people_ask_for_are_given(site: Site, engine: Podman) -> None:
    site.configure(capabilities={"ips": True, "mac": True})
    run(engine, "web", "--ip", "10.244.1.77", "--mac-address", "02:00:00:00:00:77")
    assert addresses(engine, "web")[0] == "10.244.1.77"
    assert "02:00:00:00:00:77" in engine("exec", "web", "ip", "link")
    engine("rm", "--force", "--time", "0", "web")
    assert site.traces() == CLEAN


def test_a_container_that_is_killed_leaves_nothing(site: Site, engine: Podman) -> None:
    site.configure()
    run(engine, "web")
    engine("kill", "web")
    engine("wait", "web")
    site.until_clean()


def test_a_restarted_container_is_wired_again(site: Site, engine: Podman) -> None:
    site.configure()
    run(engine, "web")
    engine("restart", "--time", "0", "web")
    assert all(pings(site.node, address) for address in addresses(engine, "web"))
    engine("rm", "--force", "--time", "0", "web")
    assert site.traces() == CLEAN
