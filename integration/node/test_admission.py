"""ADD answers when the pod's policy and hostPorts are in the kernel; nothing of a pod leaks.

A real agent on a node of its own, its objects in a folder, called by the real client.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Self

import pytest
from attaching_node import NODE_ADDRESSES, AttachingNode, answering, dialled
from scratch import Netns, until

from podwire_cni.leases import Leases, boot_id
from podwire_core.conntrack import Conntrack, Entry
from podwire_core.conntrack.entry import packed
from podwire_core.family import Family


def leased(node: AttachingNode) -> list[str]:
    with Leases(node.state, boot_id(), create=False) as leases:
        return [lease.attachment.container for lease in leases.all()]


def test_a_pod_that_a_policy_selects_is_isolated_when_add_answers(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.deny_all_to(app="vault")
    for name in ("vault", "shop", "client"):
        node.put_pod(name, app=name)
    node.start()
    client = new_netns()
    assert node.call("ADD", client, "client").exit_code == 0
    for name, heard in (("vault", ""), ("shop", "it is open")):
        pod = new_netns()
        with answering(pod, "it is open"):
            added = node.call("ADD", pod, name)
            assert added.exit_code == 0, added
            assert dialled(client, added.address, seconds=10 if heard else 1.5) == heard, name


def test_a_policy_follows_the_lease_when_the_pod_goes(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.deny_all_to(app="vault")
    node.put_pod("vault", app="vault")
    node.start()
    pod = new_netns()
    address = node.call("ADD", pod, "vault").address
    assert f"{address} " in isolated(node)
    assert node.call("DEL", pod).exit_code == 0
    until("nobody is isolated", lambda: f"{address} " not in isolated(node))


def isolated(node: AttachingNode) -> str:
    """The table's text, in which each address is followed by a space."""
    text = node.netns.run("nft", "list", "table", "ip", "podwire-policy")
    return text.replace(",", " ").replace("\n", " ").replace(":", " ")


def test_a_restarted_agent_knows_its_pods_before_the_feed_has_their_addresses(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.deny_all_to(app="vault")
    node.put_pod("vault", app="vault")
    node.start()
    address = node.call("ADD", new_netns(), "vault").address
    before = isolated(node)
    node.stop(signal.SIGKILL)
    node.start()
    assert f"{address} " in before
    assert isolated(node) == before


def test_a_pod_nobody_told_of_waits_where_policies_are_and_nowhere_else(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.start()
    assert node.call("ADD", new_netns(), "before-any-policy").exit_code == 0
    node.deny_all_to(app="vault")
    until("the policy is read", lambda: "podwire-policy" in node.netns.run("nft", "list", "tables"))
    stranger, late = new_netns(), new_netns()
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        never = pool.submit(node.call, "ADD", stranger, "stranger")
        assert node.call("ADD", new_netns()).exit_code == 0
        slow = time.monotonic() - began > 4  # after five seconds it gives up
        assert slow or not never.done(), "a container of nobody's came later, and waits not"
        some_time = pool.submit(node.call, "ADD", late, "late")
        time.sleep(1)
        assert not some_time.done()
        node.put_pod("late", app="vault")
        assert some_time.result().exit_code == 0
        assert never.result().exit_code == 0, "denied until known: see test_policy_start"
    assert node.log().count("Pod default/stranger is not known yet") == 1
    assert "Pod default/late is not known yet" not in node.log(), "it was answered when it was"


def test_a_pod_made_anew_under_its_name_waits_for_its_own_labels(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.deny_all_to(app="vault")
    node.put_pod("db-0", "first", app="shop")
    node.put_pod("client", app="client")
    node.start()
    client, pod = new_netns(), new_netns()
    assert node.call("ADD", client, "client").exit_code == 0
    with ThreadPoolExecutor() as pool, answering(pod, "it is open"):
        call = pool.submit(node.call, "ADD", pod, "db-0", "second")
        time.sleep(0.5)
        assert not call.done(), "what is known is its predecessor"
        node.put_pod("db-0", "second", app="vault")
        added = call.result()
        assert added.exit_code == 0, added
        assert dialled(client, added.address, seconds=1.5) == ""


def test_a_sandbox_gets_nothing_from_its_pods_successor_also_after_a_restart(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    """A lease keeps its pod's uid: no label of the pod made anew opens the old one's address."""
    node.deny_all_to(app="vault")
    node.put_pod("db-0", "first", app="vault")
    node.put_pod("client", app="client")
    node.start()
    client, old, new = new_netns(), new_netns(), new_netns()
    assert node.call("ADD", client, "client").exit_code == 0
    former = node.call("ADD", old, "db-0", "first")
    assert former.exit_code == 0, former
    node.put_pod("db-0", "second", app="shop")
    latter = node.call("ADD", new, "db-0", "second")
    assert latter.exit_code == 0, latter
    with answering(old, "the old one"), answering(new, "the new one"):
        for _ in range(2):
            until("it is open", lambda: dialled(client, latter.address) == "the new one")
            assert dialled(client, former.address, seconds=1.5) == ""
            node.stop(signal.SIGKILL)
            node.start()


def test_an_agent_whose_node_is_not_there_says_so(node: AttachingNode) -> None:
    own = node.objects / "Node.node1.json"
    elsewhere = node.folder / "Node.node1.json"
    own.rename(elsewhere)
    node.begin()
    until("it says so", lambda: "Node node1 is not there: is that our name?" in node.log())
    assert "There is no Node at all; pods here get no network without it" in node.log()
    elsewhere.rename(own)
    until("it says that it came", lambda: "Node node1 is there and has podCIDRs" in node.log())
    assert node.log().count("is not there: is that our name?") == 1


def test_a_host_port_answers_when_add_answers_and_not_after_del(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.start()
    pod = new_netns()
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    with answering(pod, "the pod"):
        added = node.call("ADD", pod, runtimeConfig={"portMappings": [mapping]})
        assert added.exit_code == 0, added
        assert dialled(node.peer, NODE_ADDRESSES[0], 8080) == "the pod"
        assert dialled(node.netns, "127.0.0.1", 8080) == "the pod"
        node.stop()
        node.start()
        assert dialled(node.peer, NODE_ADDRESSES[0], 8080) == "the pod"
        assert node.call("DEL", pod).exit_code == 0
    assert "8080" not in node.netns.run("nft", "list", "table", "ip", "podwire-host-ports")


@pytest.mark.parametrize("damage", ["a row of another pod", "the file"])
def test_leases_that_cannot_be_read_take_no_host_port_away(
    node: AttachingNode, new_netns: Callable[[], Netns], damage: str
) -> None:
    node.start()
    pod, other = new_netns(), new_netns()
    mapping = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
    with answering(pod, "the pod"):
        assert node.call("ADD", pod, runtimeConfig={"portMappings": [mapping]}).exit_code == 0
        assert node.call("ADD", other).exit_code == 0
        node.stop()
        database = node.state / "leases.db"
        whole = database.read_bytes()
        if damage == "the file":
            database.write_bytes(b"no database " * 1000)
        else:
            with closing(sqlite3.connect(database)) as file, file:
                file.execute(
                    "UPDATE leases SET allocated = 'soon' WHERE container = ?", (other.name,)
                )
        node.begin()
        until("it is told", lambda: "not known" in node.log())
        until("the rest is in force", lambda: "policy" in node.netns.run("nft", "list", "tables"))
        assert dialled(node.peer, NODE_ADDRESSES[0], 8080) == "the pod"
        if damage == "the file":
            database.write_bytes(whole)  # read again soon
        until("it serves", lambda: node.call("STATUS").exit_code == 0)
        assert dialled(node.peer, NODE_ADDRESSES[0], 8080) == "the pod"
        assert node.call("DEL", pod).exit_code == 0
    assert "8080" not in node.netns.run("nft", "list", "table", "ip", "podwire-host-ports")


def test_connections_of_a_released_address_are_forgotten(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.start()
    pod = new_netns()
    with answering(pod, "x"):
        address = node.call("ADD", pod).address
        # Connections are tracked where a rule asks for it; masquerade does.
        assert dialled(node.peer, address) == "x"
    assert connections(node, address)
    assert node.call("DEL", pod).exit_code == 0
    until("they are forgotten", lambda: not connections(node, address))


def connections(node: AttachingNode, address: str) -> list[Entry]:
    with node.netns.inside():
        conntrack = Conntrack()
    with closing(conntrack):
        every = list(conntrack.entries(Family.IPV4))
    return [each for each in every if packed(address, Family.IPV4) == each.destination]


def test_three_hundred_pods_sixteen_at_a_time_each_get_their_own(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.ranges = ("10.244.0.0/22",)
    node.start()
    pods = [new_netns() for _ in range(300)]
    with ThreadPoolExecutor(16) as pool:
        added = list(pool.map(lambda pod: node.call("ADD", pod), pods))
        assert [each for each in added if each.exit_code] == []
        assert len({each.address for each in added}) == 300
        gone = list(pool.map(lambda pod: node.call("DEL", pod), pods))
    assert {each.exit_code for each in gone} == {0}
    assert (leased(node), node.left()) == ([], [])


class Storm:
    """Pods that come and go without an end, each as a runtime does it."""

    def __init__(self, node: AttachingNode, pods: list[Netns]) -> None:
        self.node, self.pods = node, pods
        self.added = 0
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in pods]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for each in self._threads:
            each.join()

    def _run(self, pod: Netns) -> None:
        while not self._ending.is_set():
            self.added += self.node.call("ADD", pod).exit_code == 0
            self.node.call("DEL", pod)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_agent_that_ends_in_a_storm_leaves_nothing_behind(
    node: AttachingNode, new_netns: Callable[[], Netns], number: signal.Signals
) -> None:
    node.ranges = ("10.244.1.0/24",)
    node.start()
    chance = random.Random(5)
    pods = [new_netns() for _ in range(8)]
    with Storm(node, pods) as storm:
        for _ in range(4):
            before = storm.added
            until("pods come", lambda seen=before: storm.added > seen + 5)  # type: ignore[misc] # mypy infers no default
            time.sleep(chance.random() / 5)
            node.stop(number)
            node.start()
    for pod in pods:
        assert node.call("DEL", pod).exit_code == 0
    assert (leased(node), node.left()) == ([], [])


def test_what_a_killed_agent_left_goes_with_gc(
    node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    node.ranges = ("10.244.1.0/24",)
    node.start()
    pods = [new_netns() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(node.call, "ADD", pod) for pod in pods]
        until("some are there", lambda: any(each.done() for each in calls))
        node.stop(signal.SIGKILL)
        node.start()
        for each in calls:
            each.result()
    assert node.call("GC", **{"cni.dev/valid-attachments": []}).exit_code == 0
    assert (leased(node), node.left()) == ([], [])
