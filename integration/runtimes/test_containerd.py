"""Debian's containerd and runc: `ctr run --cni`, whose DEL always comes without a namespace."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from busybox_image import SERVE
from containerd import Containerd
from scratch import Netns, until

from .conftest import CLEAN, NODE_ADDRESSES, PEER_ADDRESSES, Site, pings

CURL = ("curl", "--noproxy", "*", "-s", "-m", "5")


def addresses(daemon: Containerd, container: str) -> list[str]:
    """What eth0 of a container has."""
    done = daemon.inside(container, "ip", "-json", "address", "show", "dev", "eth0")
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return [each["local"] for each in seen[0]["addr_info"]]


def url(address: str) -> str:
    return f"http://[{address}]:8080/" if ":" in address else f"http://{address}:8080/"


def _serves(where: Netns, page: str) -> bool:
    return where.run(*CURL, page, check=False) == "served\n"


def test_a_container_is_reached_and_reaches_others(site: Site, daemon: Containerd) -> None:
    daemon.run("web", *SERVE)
    daemon.run("shop", "sleep", "1000")
    for address in addresses(daemon, "web"):
        serves = partial(_serves, site.peer, url(address))
        until("the container serves the world", serves)
        assert daemon.inside("shop", *CURL, url(address)).stdout == "served\n"
    for address in (*NODE_ADDRESSES, *PEER_ADDRESSES):
        assert daemon.inside("shop", "ping", "-c1", "-W2", address).returncode == 0


def test_a_container_that_ends_leaves_nothing(site: Site, daemon: Containerd) -> None:
    process = daemon.begin("short", "true")
    assert process.wait(30) == 0, daemon.log("short")
    assert site.traces() == CLEAN


def test_a_container_that_is_killed_leaves_nothing(site: Site, daemon: Containerd) -> None:
    process = daemon.run("web", "sleep", "1000")
    until("it is wired", lambda: site.traces()["leases"] == [f"{daemon.machine.name}-web"])
    daemon.end("web")
    assert process.wait(30) == 137, daemon.log("web")
    assert site.traces() == CLEAN


def test_ten_containers_at_once_have_addresses_of_their_own(site: Site, daemon: Containerd) -> None:
    names = [f"web{number}" for number in range(10)]
    processes = [daemon.begin(name, "sleep", "1000") for name in names]
    until("all are wired", lambda: len(site.traces()["leases"]) == len(names), 60)
    until("all run", lambda: len(daemon.running()) == len(names), 60)
    given = [address for name in names for address in addresses(daemon, name)]
    assert len(set(given)) == 2 * len(names)
    for name in names:
        daemon.end(name)
    assert [process.wait(60) for process in processes] == [137] * len(names)
    assert site.traces() == CLEAN


def test_a_killed_containerd_takes_no_containers_network(site: Site, daemon: Containerd) -> None:
    assert daemon.begin("web", *SERVE, options=["--detach"]).wait(30) == 0, daemon.log("web")
    own = addresses(daemon, "web")
    daemon.kill()
    assert all(pings(site.node, address) for address in own)
    daemon.start()
    daemon.run("shop", "sleep", "1000")
    assert not set(addresses(daemon, "shop")) & set(own)
    assert daemon.inside("shop", *CURL, url(own[0])).stdout == "served\n"


def test_ctr_gives_back_the_network_when_its_containerd_is_killed(
    site: Site, daemon: Containerd
) -> None:
    client = daemon.run("web", *SERVE)
    daemon.kill()
    client.wait(30)  # it hears of it, and says DEL of a container that lives
    assert site.traces() == CLEAN


def test_a_network_that_cannot_be_made_is_told_and_leaves_nothing(
    site: Site, daemon: Containerd
) -> None:
    site.configure(ranges=["10.244.1.0/31"])
    process = daemon.begin("web", "true")
    assert process.wait(30) != 0
    assert "ranges" in daemon.log("web")
    assert site.traces() == CLEAN
