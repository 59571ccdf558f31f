"""Policies while pods, agents and policies come and go: nothing leaks, nothing is left behind."""

from __future__ import annotations

import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any, Self

import pytest
from attaching_node import AttachingNode
from firing_range import (
    TARGET,
    Pod,
    Range,
    attach,
    guard,
    listening,
    reaches,
)
from flood import Witness
from scratch import Netns, until
from traffic import traffic

from podwire_cni.leases import Leases, boot_id
from podwire_lab.programs import echo


@pytest.fixture
def range_(node: AttachingNode, new_netns: Callable[[], Netns]) -> Range:
    guard(node)
    node.start()
    return Range(node, new_netns)


def settled(node: AttachingNode) -> None:
    """Wait until all that was told so far is in the kernel: objects come in their order."""
    marks = len(list(node.objects.glob("Namespace.mark*")))
    node.put("Namespace", f"mark{marks}")
    with Leases(node.state, boot_id(), create=False) as leases:
        known = len(leases.all()) + len(list(node.objects.glob("*.json")))

    def all_in_force() -> bool:
        status = node.status()
        return bool(status.get("objects") == known and status["in_sync"])

    until("all objects are in force", all_in_force)


# ------------------------------------------------------------- addresses that pass on

OLD, NEW = "old", "new"


class Passing:
    """A pod that ends and one that comes, with the same address, event by event.

    The old one was open, and a friend of guarded pods; the new one is guarded.
    """

    def __init__(self, range_: Range, ends: str, namespaces: Sequence[Netns], vault: Pod) -> None:
        self.range, self.node, self.ends, self.vault = range_, range_.node, ends, vault
        self.olds, self.news = namespaces
        self.seen: list[str] = []
        self.dropped = range_.dropped(TARGET[0])
        self.told(OLD, "friend")
        attach(self.node, self.olds, OLD, TARGET)
        self.told(OLD, "friend", phase="Running", addresses=TARGET)

    def told(self, name: str, app: str, **fields: Any) -> None:
        self.node.put_pod(name, app=app, **fields)

    def happens(self, event: str) -> None:
        self.seen.append(event)
        match event:
            case "it ends":
                if self.ends == "completed":
                    self.told(OLD, "friend", phase="Succeeded", addresses=TARGET)
                else:
                    soon = "2026-01-01T00:00:00Z"
                    self.told(OLD, "friend", phase="Running", addresses=TARGET, deleted=soon)
            case "its DEL":
                assert self.node.call("DEL", self.olds).exit_code == 0
            case "the new one is told of":
                self.told(NEW, "guarded")
            case "its ADD":
                attach(self.node, self.news, NEW, TARGET)
            case "the old one is no more":
                self.node.remove("Pod", OLD)
            case "the new one's address is told of":
                self.told(NEW, "guarded", phase="Running", addresses=TARGET)

    def judge(self) -> None:
        """Whoever has the address has his own permissions and no others."""
        new = Pod(self.news, TARGET)
        assert self.range.friend_reaches(TARGET[0], self.dropped), f"a friend may: {self.seen}"
        assert self.range.is_denied(new, self.vault.addresses[0]), f"no friend: {self.seen}"
        assert self.range.is_denied(self.range.attacker, TARGET[0]), f"not open: {self.seen}"


EVENTS = (
    "it ends",
    "its DEL",
    "the new one is told of",
    "its ADD",
    "the old one is no more",
    "the new one's address is told of",
)
#: Of each pair the first comes first.
BEFORE = ((0, 4), (1, 3), (2, 3), (3, 5))
ORDERS = [
    [EVENTS[each] for each in order]
    for order in permutations(range(len(EVENTS)))
    if all(order.index(first) < order.index(then) for first, then in BEFORE)
]


@pytest.mark.parametrize("ends", ["completed", "terminating"])
def test_an_address_brings_none_of_its_last_owners_permissions_in_any_order_of_events(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns], ends: str
) -> None:
    assert len(ORDERS) == 30
    namespaces = [new_netns(), new_netns()]
    node.put_pod("vault", app="guarded")
    vault = attach(node, new_netns(), "vault")
    with listening(namespaces[1]), listening(vault.netns):
        for order in ORDERS:
            passing = Passing(range_, ends, namespaces, vault)
            for event in order:
                passing.happens(event)
                if "its ADD" in passing.seen:
                    passing.judge()
                    settled(node)
                    passing.judge()
            assert node.call("DEL", passing.news).exit_code == 0
            node.remove("Pod", NEW)


@pytest.mark.parametrize("known", ["before its ADD", "while it waits", "after its ADD"])
def test_a_pod_made_anew_under_its_name_and_address_has_no_permission_of_its_first_life(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns], known: str
) -> None:
    olds, news = new_netns(), new_netns()
    node.put_pod("db-0", "first", app="open")
    attach(node, olds, "db-0", TARGET, "first")
    node.put_pod("db-0", "first", phase="Running", addresses=TARGET, app="open")
    settled(node)
    assert node.call("DEL", olds).exit_code == 0
    everyone = (*range_.strangers, *range_.friend.addresses)
    with ExitStack() as stack:
        stack.enter_context(listening(news))
        within = stack.enter_context(Witness(news))
        floods = stack.enter_context(range_.under_fire(TARGET))
        if known == "before its ADD":
            node.put_pod("db-0", "second", app="guarded")
        elif known == "while it waits":
            later = threading.Timer(1, node.put_pod, ("db-0", "second"), {"app": "guarded"})
            later.start()
            stack.callback(later.join)
        attach(node, news, "db-0", TARGET, "second")
        if known == "after its ADD":
            for flood in floods:
                flood.wait_for()
            assert range_.is_denied(range_.friend, TARGET[0])
            assert within.seen(*everyone) == 0, "what is known is its predecessor"
            node.put_pod("db-0", "second", app="guarded")
            settled(node)
        if "is not known yet" in node.log():  # this machine was too slow to tell of it in time
            settled(node)
        dropped = [range_.dropped(each) for each in TARGET]
        for address, before in zip(TARGET, dropped, strict=True):
            assert range_.friend_reaches(address, before)
        for flood in floods:
            flood.wait_for()
        assert within.seen(*range_.strangers) == 0


# ------------------------------------------------------------------ an agent that is killed


@contextmanager
def serving(netns: Netns) -> Iterator[None]:
    """Answers lines and datagrams on port 80."""
    process = netns.popen(sys.executable, "-I", "-S", str(echo.__file__), "--ports", "80")
    try:
        until("it answers", lambda: reaches(netns, "127.0.0.1"))
        yield
    finally:
        process.kill()
        process.communicate()


class Questions:
    """A datagram from another port each few ms, which asks until it is answered.

    Under fire a backlog may be full; what a policy dropped is what a Gate tells.
    """

    def __init__(self, netns: Netns, address: str) -> None:
        self.netns, self.address = netns, address
        self.answered = self.again = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        with self.netns.inside():
            while not self._ending.wait(0.003):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.settimeout(1)
                    while not self._is_answered(one) and not self._ending.is_set():
                        self.again += 1
                    self.answered += 1

    def _is_answered(self, one: socket.socket) -> bool:
        one.sendto(b"?", (self.address, 80))
        try:
            return bool(one.recv(99))
        except TimeoutError:
            return False


def test_an_agent_that_is_killed_and_comes_again_is_noticed_by_no_packet(
    range_: Range, node: AttachingNode, new_netns: Callable[[], Netns]
) -> None:
    """Allowed connections go on, old and new ones; denied ones never get through."""
    pod = new_netns()
    node.put_pod("guarded", app="guarded")
    with ExitStack() as stack:
        within = stack.enter_context(Witness(pod))
        attach(node, pod, "guarded", TARGET)
        stack.enter_context(serving(pod))
        stack.enter_context(range_.under_fire(TARGET))
        friend = range_.friend.netns
        flow = stack.enter_context(traffic(friend.name, [(each, 80) for each in TARGET], 2))
        asked = stack.enter_context(Questions(friend, TARGET[0]))
        for _ in range(3):
            node.stop(signal.SIGKILL)
            flow.goes_on()
            node.start()
            settled(node)
            flow.goes_on()
            assert set(node.status()["transactions"].values()) == {0}, node.status()
        until("questions are answered", lambda: asked.answered > 100)
        assert within.seen(*range_.strangers) == 0
        print(f"{asked.answered} answered; {asked.again} were asked once more")
    for here, there in zip(range_.friend.addresses, TARGET, strict=True):
        assert range_.gate.none_dropped(here, there)
        assert range_.gate.none_dropped(there, here)


# ---------------------------------------------------------------------- policies that flap

FLAPS = 1000
CLUSTER = ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2")
NAMESPACED = ("NetworkPolicy", "networking.k8s.io/v1")


def shapes() -> Sequence[tuple[str, str, dict[str, Any]]]:
    """Policies that use every kind of set and chain: kind, version, spec."""
    everyone: dict[str, Any] = {"podSelector": {}}
    team = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    block = {"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24"]}}
    block6 = {"ipBlock": {"cidr": "fd00::/16", "except": ["fd00:1::/32"]}}
    named, ranged = {"port": "web"}, {"port": 8000, "endPort": 9000, "protocol": "UDP"}
    pods = {"pods": {"podSelector": {"matchLabels": {"app": "friend"}}}}
    tcp = {"protocol": "TCP", "tcp": {"destinationPort": {"number": 80}}}
    specs = [
        {**everyone, "policyTypes": ["Ingress", "Egress"]},
        {**everyone, "ingress": [{"from": [team, everyone], "ports": [named, ranged]}]},
        {**everyone, "egress": [{"to": [block, block6], "ports": [ranged, {"port": 53}]}]},
        {
            "podSelector": {"matchLabels": {"app": "friend"}},
            "ingress": [{"from": [{**everyone, **team}]}, {"ports": [{"protocol": "SCTP"}]}],
        },
    ]
    rules = [
        {"action": "Accept", "to": [pods], "protocols": [tcp]},
        {"action": "Pass", "to": [{"nodes": {}}]},
        {"action": "Deny", "to": [{"networks": ["10.0.0.0/8", "fd00::/16"]}]},
    ]
    admin = {"tier": "Admin", "priority": 5, "subject": {"namespaces": {}}, "egress": rules}
    baseline = {
        "tier": "Baseline",
        "priority": 5,
        "subject": pods,
        "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}],
    }
    namespaced = [(*NAMESPACED, each) for each in specs]
    return [*namespaced, (*CLUSTER, admin), (*CLUSTER, baseline)]


def listed(node: AttachingNode) -> str:
    """Our tables as they stand, but for what was counted."""
    tables = [
        node.netns.run("nft", "list", "table", family, "podwire-policy") for family in ("ip", "ip6")
    ]
    return re.sub(r"packets \d+ bytes \d+", "", "".join(tables))


def resident(node: AttachingNode) -> float:
    """The agent's memory, in MiB."""
    pages = Path(f"/proc/{node.status()['pid']}/statm").read_text().split()[1]
    return int(pages) * 4096 / 2**20


@pytest.mark.timeout(1200)
def test_policies_that_flap_a_thousand_times_leave_nothing_behind(
    range_: Range, node: AttachingNode
) -> None:
    del range_  # its pods are subjects and peers
    settled(node)
    before, every, first = listed(node), shapes(), node.status()
    different: set[str] = set()
    memory: list[float] = []
    for number in range(FLAPS):
        kind, version, spec = every[number % len(every)]
        node.put(kind, "flapping", version, spec=spec)
        in_force(node, first["objects"] + 1)
        if number < len(every):
            different.add(listed(node))
        node.remove(kind, "flapping")
        in_force(node, first["objects"])
        if number in {FLAPS // 5, FLAPS - 1}:
            memory.append(resident(node))
    assert len(different - {before}) == len(every), "each was in force"
    until("nothing is left", lambda: listed(node) == before)
    sent = node.status()["transactions"]["policy"] - first["transactions"]["policy"]
    assert sent >= 2 * FLAPS
    print(f"{memory[0]:.1f}, then {memory[1]:.1f} MiB")
    assert memory[1] - memory[0] < 16, memory
    assert (node.status()["failures"]["policy"], node.status()["problems"]) == (0, [])


def in_force(node: AttachingNode, objects: int) -> None:
    """Wait until so many objects are in force; a look each ms, for there are thousands."""
    deadline = time.monotonic() + 60
    while (status := node.status()).get("objects") != objects or not status["in_sync"]:
        assert time.monotonic() < deadline, status
        time.sleep(0.001)
