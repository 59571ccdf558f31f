"""The audit on a real kernel: what hands, crashes and lost files leave, and what it never touches.

```
 node (a namespace)                    pods (a namespace each)
 audit ── leases.db, rtnetlink         plugin.run() in this process, as the agent has it
```
"""

from __future__ import annotations

import ipaddress
import json
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scratch

from podwire_cni import plugin
from podwire_cni.attachment import Attachment
from podwire_cni.leases import Lease, Leases, boot_id
from podwire_cni.ranges import AddressRange
from podwire_node.cni.audit import Auditor, Kind, Place, check
from podwire_node.cni.audit.audit import Audit
from podwire_node.cni.audit.comparison import find
from podwire_node.cni.audit.ground import on_the_ground
from podwire_node.cni.calls.agent_host import AgentHost
from podwire_node.cni.calls.turns import Turns

RANGES = ("10.244.1.0/24", "fd00:10:244:1::/64")
OFFERED = [AddressRange(ipaddress.ip_network(range_)) for range_ in RANGES]
NETWORK = "podnet"


@dataclass
class Node:
    """A node's namespace and state, and an audit of it with a clock of its own."""

    netns: scratch.Netns
    place: Place
    host: AgentHost
    turns: Turns = field(default_factory=lambda: Turns(8))
    repaired: list[Kind] = field(default_factory=list)
    pods: list[scratch.Netns] = field(default_factory=list)

    def call(self, command: str, pod: scratch.Netns) -> None:
        """A CNI call that must succeed, with its container's turn, as the agent's server has it."""
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": pod.name,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": f"/run/netns/{pod.name}",
            "CNI_PATH": "/opt/cni/bin",
        }
        config: dict[str, Any] = {"cniVersion": "1.1.0", "name": NETWORK, "type": "podwire"}
        config |= {"ranges": RANGES, "cooldownSeconds": 0}
        deadline = time.monotonic() + 60
        with self.turns.taken(pod.name, deadline), self.netns.inside():
            stdin = json.dumps(config).encode()
            outcome = plugin.run(environ, stdin, self.host, None, deadline)
        assert outcome.exit_code == 0, outcome

    def add(self) -> scratch.Netns:
        """A new pod, wired."""
        pod = self.namespace()
        self.call("ADD", pod)
        return pod

    def namespace(self) -> scratch.Netns:
        """A pod's namespace, not wired."""
        pod = scratch.make()
        self.pods.append(pod)
        return pod

    def audits(self, *moments: float) -> None:
        """Audit at these moments, in seconds."""
        with self.netns.inside(), on_the_ground(self.place, self.host) as ground:
            audit = Audit(ground, self.turns.taken, repaired=self.repaired.append)
            began = float(int(time.monotonic()))  # whole, so that a minute is one
            for moment in moments:
                audit.run(began + moment)

    def audits_in_silence(self) -> None:
        """Audit twice, a minute apart, until pods that came just now have announced themselves."""

        def repaired() -> bool:
            self.audits(0, 60)
            return Kind.LINK_WITHOUT_LEASE in self.repaired

        scratch.until("the link went", repaired, 30)

    def findings(self) -> list[str]:
        """What an audit finds now."""
        with self.netns.inside(), on_the_ground(self.place, self.host) as ground:
            return [each.kind.word for each in find(ground.look())]

    def lease(self, pod: scratch.Netns) -> Lease | None:
        """What a pod holds."""
        with Leases(self.place.state_dir, boot_id()) as leases:
            return leases.find(attachment(pod))

    def addresses(self, pod: scratch.Netns) -> list[str]:
        """What a pod holds, IPv4 first."""
        lease = self.lease(pod)
        assert lease
        return [str(address) for address in lease.addresses]

    def reaches(self, pod: scratch.Netns, *, addresses: list[str] | None = None) -> bool:
        """Whether the pod answers the node at each of its addresses."""
        every = addresses or self.addresses(pod)
        ping = ("ping", "-n", "-c1", "-W5")
        return all("1 received" in self.netns.run(*ping, address, check=False) for address in every)

    def traces(self) -> tuple[list[str], list[str]]:
        """Links of podwire's, and leases."""
        links = json.loads(self.netns.run("ip", "-json", "link"))
        with Leases(self.place.state_dir, boot_id()) as leases:
            holders = [lease.attachment.container for lease in leases.all()]
        return [link["ifname"] for link in links if link["ifname"].startswith("pw")], holders

    def remember(self, pod: scratch.Netns) -> None:
        """Write down a pod as libcni does."""
        entry = {
            "kind": "cniCacheV1",
            "networkName": NETWORK,
            "containerId": pod.name,
            "ifName": "eth0",
            "netns": f"/run/netns/{pod.name}",
            "result": {"ips": [{"address": each} for each in self.addresses(pod)]},
        }
        file = self.place.results / f"{NETWORK}-{pod.name}-eth0"
        file.write_text(json.dumps(entry))


def attachment(pod: scratch.Netns) -> Attachment:
    return Attachment(NETWORK, pod.name, "eth0")


@contextmanager
def a_node(folder: Path) -> Iterator[Node]:
    with ExitStack() as stack:
        netns = scratch.make()
        stack.callback(scratch.remove, netns)
        # Answers leave by the node's address; without one ping has none to ask from.
        netns.run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")
        netns.run("ip", "addr", "add", "fd00:2::1/128", "dev", "lo", "nodad")
        results = folder / "results"
        results.mkdir()
        with netns.inside():
            host = AgentHost(folder / "state")
        stack.callback(host.close)
        node = Node(netns, Place(folder / "state", lambda: RANGES, results), host)
        stack.callback(lambda: [scratch.remove(pod) for pod in node.pods])
        yield node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with a_node(tmp_path) as node:
        yield node


# -------------------------------------------------------------------------------- frees


def test_a_pod_whose_link_was_deleted_by_hand_gives_its_addresses_back(node: Node) -> None:
    pod, other = node.add(), node.add()
    node.netns.run("ip", "link", "del", attachment(pod).host_name)
    node.audits(0, 5, 59)
    assert node.lease(pod), "not within a minute"
    node.audits(0, 60)
    assert node.lease(pod) is None
    assert node.repaired == [Kind.LEASE_WITHOUT_LINK]
    assert node.findings() == []
    assert node.reaches(other)


def test_a_lease_inserted_by_hand_is_freed(node: Node) -> None:
    pod = node.add()
    ghost = Attachment(NETWORK, "nobody", "eth0")
    with Leases(node.place.state_dir, boot_id()) as leases:
        leases.acquire(ghost, "nobody", OFFERED, 0)
    node.audits(0, 60)
    assert node.traces() == ([attachment(pod).host_name], [pod.name])


def test_a_pod_that_died_without_a_del_leaves_nothing(node: Node) -> None:
    pod = node.add()
    name = attachment(pod).host_name
    scratch.remove(pod)
    scratch.until("the pair is gone", lambda: name not in node.netns.run("ip", "link"))
    node.audits(0, 60)
    assert node.traces() == ([], [])


def test_the_link_of_a_lost_lease_is_removed(node: Node) -> None:
    pod, other = node.add(), node.add()
    node.remember(other)
    with Leases(node.place.state_dir, boot_id()) as leases:
        leases.release(attachment(pod))
    node.audits(0, 59)
    assert len(node.traces()[0]) == 2
    node.audits_in_silence()
    assert node.traces() == ([attachment(other).host_name], [other.name])
    assert node.reaches(other)


def test_a_link_without_a_lease_stays_while_its_pod_talks(node: Node) -> None:
    pod = node.add()
    addresses = node.addresses(pod)
    with Leases(node.place.state_dir, boot_id()) as leases:
        leases.release(attachment(pod))
    with node.netns.inside(), on_the_ground(node.place, node.host) as ground:
        audit = Audit(ground, node.turns.taken, repaired=node.repaired.append)
        for minute in range(4):
            assert node.reaches(pod, addresses=addresses)
            audit.run(time.monotonic() + 60 * minute)
    assert node.repaired == []


def test_a_lost_lease_does_not_take_its_addresses_next_owner_along(node: Node) -> None:
    pod = node.add()
    addresses = node.addresses(pod)
    with Leases(node.place.state_dir, boot_id()) as leases:
        leases.release(attachment(pod))
    config = node.namespace()
    with Leases(node.place.state_dir, boot_id()) as leases:
        wanted = [ipaddress.ip_address(each) for each in addresses]
        leases.acquire(attachment(config), config.name, OFFERED, 0, wanted=wanted)
    node.call("ADD", config)
    node.remember(config)
    assert node.addresses(config) == addresses
    node.audits_in_silence()
    assert node.traces() == ([attachment(config).host_name], [config.name])
    assert node.reaches(config)


def test_a_stray_route_goes_and_a_virtual_address_stays(node: Node) -> None:
    name = attachment(node.add()).host_name
    node.netns.run("ip", "route", "add", "10.244.1.99/32", "dev", name)
    node.netns.run("ip", "-6", "route", "add", "fd00:10:244:1::99/128", "dev", name)
    node.netns.run("ip", "route", "add", "198.51.100.9/32", "dev", name)
    assert node.findings() == ["route-stray", "route-stray"]
    node.audits(0, 60)
    assert node.findings() == []
    assert "10.244.1.99" not in node.netns.run("ip", "route")
    assert "198.51.100.9" in node.netns.run("ip", "route")


# ---------------------------------------------------------------------------- puts back


def test_routes_deleted_by_hand_are_put_back_soon(node: Node) -> None:
    pod = node.add()
    before = [node.netns.run("ip", f"-{family}", "route") for family in (4, 6)]
    v4, v6 = node.addresses(pod)
    node.netns.run("ip", "route", "del", v4)
    node.netns.run("ip", "-6", "route", "del", v6)
    node.audits(0, 5)
    assert [node.netns.run("ip", f"-{family}", "route") for family in (4, 6)] == before
    assert node.repaired == [Kind.ROUTE_MISSING, Kind.ROUTE_MISSING]


def test_neighbours_that_were_deleted_or_changed_are_put_right(node: Node) -> None:
    pod = node.add()
    name = attachment(pod).host_name
    v4, v6 = node.addresses(pod)
    node.netns.run("ip", "neigh", "del", v4, "dev", name)
    node.netns.run("ip", "neigh", "replace", v6, "dev", name, "lladdr", "02:00:00:00:00:09")
    node.audits(0, 5)
    assert node.findings() == []
    assert node.reaches(pod)


def test_a_link_set_down_comes_up_with_all_it_carried(node: Node) -> None:
    pod = node.add()
    node.netns.run("ip", "link", "set", attachment(pod).host_name, "down")
    node.audits(0, 5)
    assert node.findings() == []
    scratch.until("the pod answers", lambda: node.reaches(pod))


@pytest.mark.parametrize("options", [(), ("metric", "5")], ids=["in its place", "before it"])
def test_a_route_to_another_pod_is_put_right(node: Node, options: tuple[str, ...]) -> None:
    pod, other = node.add(), node.add()
    v6 = node.addresses(pod)[1]
    name = attachment(other).host_name
    node.netns.run("ip", "-6", "route", "replace", f"{v6}/128", "dev", name, *options)
    assert not node.reaches(pod)
    node.audits(0, 60, 121)
    assert node.findings() == []
    assert node.reaches(pod)
    assert node.reaches(other)


def test_a_route_of_somebody_elses_is_told_and_left(node: Node) -> None:
    pod = node.add()
    v6 = node.addresses(pod)[1]
    node.netns.run("ip", "-6", "route", "add", f"{v6}/128", "dev", "lo", "metric", "5")
    node.audits(0, 60)
    assert node.findings() == ["route-foreign"]
    assert node.repaired == []


def test_a_hardware_address_that_a_later_plugin_gave_is_followed(node: Node) -> None:
    pod = node.add()
    name = attachment(pod).host_name
    v4, v6 = node.addresses(pod)
    pod.run("ip", "link", "set", "eth0", "address", "02:00:00:00:00:09")
    node.netns.run("ip", "neigh", "del", v4, "dev", name)
    node.netns.run("ip", "neigh", "replace", v6, "dev", name, "lladdr", "02:00:00:00:00:09")
    node.audits(0, 5)
    entries = json.loads(node.netns.run("ip", "-json", "neigh", "show", "dev", name, "nud", "all"))
    macs = {each["dst"]: each["lladdr"] for each in entries if "PERMANENT" in each["state"]}
    assert macs == {v4: "02:00:00:00:00:09", v6: "02:00:00:00:00:09"}


def test_a_pod_borrows_an_address_for_as_long_as_rp_filter_is_off_and_no_longer(
    node: Node,
) -> None:
    pod, borrowed = borrower(node)
    node.netns.run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
    assert not sends(pod, borrowed, node)
    node.netns.run("sysctl", "-qw", f"net.ipv4.conf.{attachment(pod).host_name}.rp_filter=0")
    assert sends(pod, borrowed, node)
    assert node.findings() == ["source-unchecked"]
    node.audits(0, 5)
    assert node.repaired == [Kind.SOURCE_UNCHECKED]
    assert not sends(pod, borrowed, node)
    assert node.findings() == []


@pytest.mark.parametrize("where", ["all", "LINK"])
def test_a_loose_rp_filter_as_distributions_set_it_lets_nobody_borrow(
    node: Node, where: str
) -> None:
    pod, borrowed = borrower(node)
    which = where.replace("LINK", attachment(pod).host_name)
    node.netns.run("sysctl", "-qw", f"net.ipv4.conf.{which}.rp_filter=2")
    assert not sends(pod, borrowed, node)
    assert node.findings() == []


def borrower(node: Node) -> tuple[scratch.Netns, str]:
    """A pod with another pod's IPv4 address beside its own, and that address."""
    pod, other = node.add(), node.add()
    borrowed = node.addresses(other)[0]
    pod.run("ip", "addr", "add", f"{borrowed}/32", "dev", "eth0")
    assert sends(pod, node.addresses(pod)[0], node)
    return pod, borrowed


def sends(pod: scratch.Netns, source: str, node: Node) -> bool:
    """Whether what the pod sends from an address is taken by the node."""
    before = _received(node)
    pod.run("ping", "-n", "-c1", "-W5", "-I", source, "192.0.2.1", check=False)
    return _received(node) > before


def _received(node: Node) -> int:
    """Echo requests that the node's own ICMP has seen."""
    lines = node.netns.run("cat", "/proc/net/snmp").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Icmp:"))
    return int(values[names.index("InEchos")])


# ------------------------------------------------------------------- evidence of life


def test_a_pod_that_lives_gets_its_lost_lease_back(node: Node) -> None:
    pod = node.add()
    lease = node.lease(pod)
    assert lease
    node.remember(pod)
    for file in node.place.state_dir.glob("leases.db*"):
        file.unlink()
    node.audits(0, 5)
    found = node.lease(pod)
    assert found
    assert (found.pod, found.addresses) == (lease.pod, lease.addresses)
    assert node.findings() == []
    assert node.reaches(pod)


def test_a_pod_that_lives_keeps_its_addresses_without_a_link(node: Node) -> None:
    pod = node.add()
    node.remember(pod)
    node.netns.run("ip", "link", "del", attachment(pod).host_name)
    node.audits(0, 60, 120)
    assert node.lease(pod)
    scratch.remove(pod)
    node.audits(0, 60)
    assert node.lease(pod) is None, "its namespace is gone, whatever libcni remembers"


@pytest.mark.parametrize("cache", ["none", "empty"])
def test_nothing_is_removed_where_nobody_can_tell_who_lives(node: Node, cache: str) -> None:
    pod = node.add()
    addresses = node.addresses(pod)
    if cache == "none":
        node.place.results.rmdir()
    with Leases(node.place.state_dir, boot_id()) as leases:
        leases.release(attachment(pod))
    node.audits(0, 60, 120)
    assert node.findings() == ["link-unjudged"]
    assert node.reaches(pod, addresses=addresses)


# ----------------------------------------------------------------------------- a storm


def test_audits_all_the_time_never_harm_a_pod_that_comes_stays_or_goes(node: Node) -> None:
    """No patience at all, a clock that steps, and eight runtimes: the turns alone must do."""
    stayers = [node.add() for _ in range(4)]
    pods = [node.namespace() for _ in range(8)]
    ending = threading.Event()
    broken: list[str] = []
    moments: list[float] = []

    def live(pod: scratch.Netns) -> None:
        try:
            while not ending.is_set():
                node.call("ADD", pod)
                if attachment(pod).host_name not in node.traces()[0] or not node.lease(pod):
                    broken.append(f"{pod.name} lost its link or its lease")
                node.call("DEL", pod)
        except AssertionError as error:
            broken.append(str(error))

    def audit() -> None:
        with node.netns.inside(), on_the_ground(node.place, node.host) as ground:
            audit = Audit(
                ground,
                node.turns.taken,
                repaired=node.repaired.append,
                patience=lambda kind: None if kind.patience is None else 0.0,
            )
            while not ending.is_set():
                moments.append(time.monotonic() + random.choice((-3600.0, 0.0, 0.0, 60.0)))
                audit.run(moments[-1])

    threads = [threading.Thread(target=live, args=(pod,)) for pod in pods]
    threads.append(threading.Thread(target=audit))
    for thread in threads:
        thread.start()
    try:
        scratch.until("20 audits", lambda: len(moments) > 20 or bool(broken), 60)
    finally:
        ending.set()
    for thread in threads:
        thread.join(30)
    assert not broken
    assert node.repaired == []
    assert all(node.reaches(pod) for pod in stayers)
    assert node.findings() == []
    assert sorted(node.traces()[1]) == sorted(pod.name for pod in stayers)


# ------------------------------------------------------------------- thread and command


def test_the_agents_thread_audits_and_ends(node: Node) -> None:
    pod = node.add()
    node.netns.run("ip", "route", "del", node.addresses(pod)[0])
    told = threading.Event()
    with node.netns.inside():
        auditor = Auditor(node.place, node.host, node.turns.taken, lambda _kind: told.set())
        with auditor:
            assert told.wait(15), "the route is not back"
    assert "audit" not in {thread.name for thread in threading.enumerate()}
    assert node.reaches(pod)


def test_the_command_says_the_same_and_fails(node: Node) -> None:
    pod = node.add()
    name = attachment(pod).host_name
    podwire = (sys.executable, "-m", "podwire_node", "leases", "--check")
    place = ("--state-dir", str(node.place.state_dir))
    assert "agree" in node.netns.run(*podwire, *place)
    node.netns.run("ip", "link", "del", name)
    text = node.netns.run(*podwire, *place, check=False)
    assert "lease-without-link" in text
    document = json.loads(node.netns.run(*podwire, *place, "--json", check=False))
    assert [row["subject"] for row in document["differences"]] == [name]


def test_a_check_names_what_is_wrong_and_changes_nothing(node: Node) -> None:
    pod = node.add()
    with node.netns.inside():
        assert check(node.place.state_dir, RANGES, node.place.results) == []
    node.netns.run("ip", "link", "del", attachment(pod).host_name)
    for _ in range(2):
        with node.netns.inside():
            (row,) = check(node.place.state_dir, RANGES, node.place.results)
        assert (row.kind, row.pod, row.repair) == (
            "lease-without-link",
            pod.name,
            "freed by the agent after a minute",
        )
