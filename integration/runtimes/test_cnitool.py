"""The reference's own runtime library, cnitool, over a pod's whole life."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cnitool import CniTool
from scratch import Netns

from .conftest import CLEAN, NODE_ADDRESSES, PEER_ADDRESSES, Site, pings

NewNetns = Callable[[], Netns]


def addresses(result: str) -> list[str]:
    return [each["address"].split("/")[0] for each in json.loads(result)["ips"]]


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_a_pod_lives_its_whole_life(
    site: Site, cnitool: CniTool, new_netns: NewNetns, version: str
) -> None:
    site.configure(version=version)
    pod = new_netns()
    added = cnitool.call("add", pod)
    assert added.returncode == 0, added
    assert json.loads(added.stdout)["cniVersion"] == version
    own = addresses(added.stdout)
    for address in own:
        assert pings(site.node, address)
        assert pings(site.peer, address)
    for address in (*NODE_ADDRESSES, *PEER_ADDRESSES):
        assert pings(pod, address)
    assert len(cnitool.cached()) == 1
    checked = cnitool.call("check", pod)
    assert (checked.returncode == 0) == (version != "0.3.1"), checked
    for _ in range(2):
        gone = cnitool.call("del", pod)
        assert (gone.returncode, gone.stdout) == (0, ""), gone
    assert site.traces() == CLEAN
    assert cnitool.cached() == []


def test_status_is_for_those_who_may_ask(site: Site, cnitool: CniTool, new_netns: NewNetns) -> None:
    site.configure(version="1.1.0")
    done = cnitool.call("status", new_netns())
    assert (done.returncode, done.stdout) == (0, ""), done


def test_a_result_that_was_not_remembered_is_not_needed_by_del(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    site.configure(version="1.0.0")
    pod = new_netns()
    assert cnitool.call("add", pod).returncode == 0
    site.machine.output("rm", "-r", "/var/lib/cni/results")
    assert cnitool.call("del", pod).returncode == 0
    assert site.traces() == CLEAN


def test_check_says_what_changed(site: Site, cnitool: CniTool, new_netns: NewNetns) -> None:
    site.configure(version="1.0.0")
    pod = new_netns()
    cnitool.call("add", pod)
    pod.run("ip", "link", "set", "eth0", "down")
    done = cnitool.call("check", pod)
    assert done.returncode != 0
    assert "eth0" in done.stderr
    assert cnitool.call("del", pod).returncode == 0
    assert site.traces() == CLEAN


def test_gc_without_a_list_unplugs_nobody(
    site: Site, cnitool: CniTool, new_netns: NewNetns
) -> None:
    """cnitool sends no list of attachments: it first deletes what it remembers, then asks us."""
    site.configure(version="1.1.0")
    pod, other = new_netns(), new_netns()
    cnitool.call("add", pod)
    own = addresses(cnitool.call("add", other).stdout)
    site.machine.output("rm", "-r", "/var/lib/cni/results")
    done = cnitool.call("gc", pod)
    assert done.returncode != 0
    assert "cni.dev/valid-attachments" in done.stderr
    assert all(pings(site.node, address) for address in own)
