"""containerd as kubelet uses it: its CRI plugin, asked for pods by crictl."""

from __future__ import annotations

import json
import subprocess
from functools import partial
from pathlib import Path

import crictl
import private_machine
import pytest
from containerd import Containerd
from crictl import CriCtl
from scratch import until

from .conftest import CLEAN, NODE_ADDRESSES, WITH_AGENT, Site, connects, pings

PORT = 8888
LIMITS = {"kubernetes.io/ingress-bandwidth": "8M", "kubernetes.io/egress-bandwidth": "8M"}


@pytest.fixture
def cri(site: Site, daemon: Containerd) -> CriCtl:
    """crictl, once containerd has found the network."""
    program, loopback = crictl.program(), Path("/usr/lib/cni/loopback")
    if not loopback.exists():
        private_machine.needs("containernetworking-plugins")
    # containerd wires each pod's loopback by a plugin of this name, beside its network.
    site.machine.output("cp", str(loopback), str(private_machine.BIN_DIR))
    made = CriCtl(daemon, program)
    until("containerd has found the network", made.network_is_ready)
    return made


def test_a_pod_lives_its_whole_life(site: Site, cri: CriCtl) -> None:
    pod = cri("runp", str(cri.pod("web")))
    own = cri.addresses(pod)
    assert len(own) == 2
    for address in own:
        until("the pod serves the world", partial(connects, site.peer, address, 8080))
    links = json.loads(site.node.run("ip", "-json", "link"))
    assert [link["ifalias"] for link in links if "ifalias" in link] == ["shop/web"]
    for _ in range(2):
        cri("stopp", pod)
        assert site.traces() == CLEAN
    cri("rmp", pod)


@WITH_AGENT
def test_a_host_port_answers_and_goes_with_its_pod(site: Site, cri: CriCtl) -> None:
    site.configure(capabilities={"portMappings": True})
    until("containerd has read it", lambda: "portMappings" in cri("info"))
    pod = cri("runp", str(cri.pod("web", PORT)))
    for address in NODE_ADDRESSES:
        until("the port answers", partial(connects, site.peer, address, PORT))
    cri("stopp", pod)
    assert not connects(site.peer, NODE_ADDRESSES[0], PORT)
    assert site.traces() == CLEAN


def test_a_pods_annotations_limit_its_bandwidth(site: Site, cri: CriCtl) -> None:
    site.configure(capabilities={"bandwidth": True})
    until("containerd has read it", lambda: '"bandwidth"' in cri("info"))
    pod = cri("runp", str(cri.pod("web", annotations=LIMITS)))
    inside = ["nsenter", f"--target={cri.process(pod)}", "--net", "tc", "qdisc"]
    queues = site.node.run("tc", "qdisc") + site.machine.output(*inside)
    assert queues.count("8Mbit") == 2, queues
    assert all(pings(site.peer, address) for address in cri.addresses(pod))
    cri("stopp", pod)
    assert "tbf" not in site.node.run("tc", "qdisc")
    assert site.traces() == CLEAN


def test_ten_pods_at_once_have_addresses_of_their_own(site: Site, cri: CriCtl) -> None:
    files = [cri.pod(f"web{number}") for number in range(10)]
    begun = [
        subprocess.Popen(cri.command("runp", str(file)), stdout=subprocess.PIPE, text=True)
        for file in files
    ]
    pods = [process.communicate(timeout=120)[0].strip() for process in begun]
    given = {address for pod in pods for address in cri.addresses(pod)}
    assert len(given) == 2 * len(pods)
    cri("stopp", *pods)
    assert site.traces() == CLEAN


def test_a_pod_whose_process_was_killed_leaves_nothing(site: Site, cri: CriCtl) -> None:
    pod = cri("runp", str(cri.pod("web")))
    site.machine.output("kill", "-9", cri.process(pod))
    until("containerd has noticed", lambda: not cri.is_ready(pod))  # else both end the shim
    cri("rmp", "--force", pod)
    assert site.traces() == CLEAN


def test_a_containerd_killed_in_the_middle_leaves_what_no_retry_adds_to(
    site: Site, cri: CriCtl, daemon: Containerd
) -> None:
    files = [cri.pod(f"web{number}") for number in range(4)]
    begun = [
        subprocess.Popen(
            cri.command("runp", str(file)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for file in files
    ]
    until("some have addresses", lambda: bool(site.leases()))
    daemon.kill()
    for process in begun:
        process.wait(60)
    daemon.start()
    until("containerd has found the network", cri.network_is_ready)
    cri("rmp", "--all", "--force")
    # What containerd had not yet noted it does not take down: it lost those before it could.
    lost = site.leases()
    assert len(lost) <= len(files)
    pod = cri("runp", str(cri.pod("later")))
    for address in cri.addresses(pod):
        until("a new pod serves", partial(connects, site.peer, address, 8080))
    cri("rmp", "--force", pod)
    assert site.leases() == lost


@WITH_AGENT
def test_a_pod_goes_while_the_agent_is_away_and_its_addresses_follow(
    site: Site, cri: CriCtl
) -> None:
    pod = cri("runp", str(cri.pod("web")))
    site.agent.stop()
    cri("stopp", pod)
    cri("rmp", pod)
    assert site.leases() == [pod]
    site.agent.start()
    site.until_clean()


@WITH_AGENT
def test_a_pod_that_comes_while_the_agent_restarts_waits_for_it(site: Site, cri: CriCtl) -> None:
    site.agent.stop()
    command = cri.command("runp", str(cri.pod("web")))
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    site.agent.start()
    pod = begun.communicate(timeout=60)[0].strip()
    assert begun.returncode == 0
    assert all(pings(site.peer, address) for address in cri.addresses(pod))
    cri("rmp", "--force", pod)
    assert site.traces() == CLEAN


def test_a_network_that_comes_back_is_found_again(site: Site, cri: CriCtl) -> None:
    pod = cri("runp", str(cri.pod("web")))
    for file in site.conf_dir.glob("*.conflist"):
        file.unlink()
    if site.alone:
        until("containerd has no network", lambda: not cri.network_is_ready())
        site.configure()
    until("containerd has a network", cri.network_is_ready)
    cri("rmp", "--force", pod)
    pod = cri("runp", str(cri.pod("shop")))
    assert all(pings(site.peer, address) for address in cri.addresses(pod))
    cri("rmp", "--force", pod)
    assert site.traces() == CLEAN
