"""Endpoints change, and the agent dies, while connections are opened all the time.

Servers answer at all addresses, whether they are endpoints or not: so no call may fail, and each
answer says which endpoint was chosen.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import bpf_place
import killed_programmer
import pytest
import socket_programmer
from agent_process import VIP, AgentProcess
from killed_programmer import OTHER, STATES, STICKY, WEB
from proxy_stage import endpoints, pod_address, service, sticky
from scratch import Netns, until
from socket_programmer import ENDPOINTS, Programmer

from podwire_ebpf.place import Place

AT_ONCE, TOTAL = 10_000, 30_000
PORT = 8080  # endpoints'
_TOOLS = Path(socket_programmer.__file__).parent


class Connection(NamedTuple):
    """What became of one. began, ended: of connect(); end: an endpoint's address, or `!ERROR`."""

    target: int
    began: float
    ended: float
    end: str


@dataclass
class Node:
    """A node whose endpoints are addresses of its own."""

    netns: Netns
    place: Place

    @contextmanager
    def flood(self, at_once: int, total: int, *vips: str) -> Iterator[Flood]:
        """Opens connections to the VIPs, in the cgroup, until the block ends or all were opened."""
        words = ("-I", "-S", str(_TOOLS / "connect_flood.py"), str(self.place.cgroup))
        targets = (f"{vip},80" for vip in vips)
        with self.netns.popen(
            sys.executable, *words, str(at_once), str(total), *targets
        ) as process:
            made = Flood(process)
            try:
                yield made
                made.ends()
            finally:
                process.kill()
                made.heard()


@dataclass
class Flood:
    """A process that opens connections, and what it told so far."""

    process: subprocess.Popen[str]
    told: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            target, began, ended, end = line.split()
            self.told.append(Connection(int(target), float(began), float(ended), end))

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def heard(self) -> None:
        """Wait until nothing more can be told."""
        self._thread.join()

    def ends(self) -> None:
        """Wait for the last connection that it began."""
        assert self.process.stdin
        self.process.stdin.close()
        self._thread.join(120)
        assert not self.goes_on
        assert self.process.wait(10) == 0, self.process.stderr and self.process.stderr.read()


LIVES = 6  # of an agent that is killed


@pytest.fixture
def node(new_netns: Callable[[], Netns], tmp_path: Path) -> Iterator[Node]:
    netns = new_netns()
    socket_programmer.wire(netns)
    netns.run(
        "sysctl", "-qw", "net.core.somaxconn=65535", "net.ipv4.ip_local_port_range=2000 65000"
    )
    server = netns.popen(sys.executable, "-I", "-S", str(_TOOLS / "reached_server.py"), str(PORT))
    try:
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        with bpf_place.place(tmp_path) as place:
            yield Node(netns, place)
    finally:
        server.kill()
        server.communicate()


class Epoch(NamedTuple):
    """A set of endpoints, from when the change to it began until the change from it was over."""

    began: float
    over: float
    addresses: frozenset[str]


def wrong(connections: list[Connection], epochs: list[Epoch]) -> list[Connection]:
    """Those that failed, or ended at what was no endpoint at any moment of their connect()."""
    found = []
    for each in connections:
        allowed = (
            epoch for epoch in epochs if epoch.began <= each.ended and each.began <= epoch.over
        )
        if not any(each.end in epoch.addresses for epoch in allowed):
            found.append(each)
    return found


def test_ten_thousand_at_once_while_endpoints_change(node: Node) -> None:
    chance = random.Random(7)  # any, but the same each time
    vips = (WEB, STICKY, "fd00:10:96::a")
    began: list[tuple[float, float, frozenset[str]]] = []

    def change(programmer: Programmer) -> None:
        """Other endpoints, more or fewer than the frontend's own slots."""
        count = chance.choice((2, 10, 16, 17, 30))
        numbers = chance.sample(range(1, ENDPOINTS + 1), count)
        at = time.monotonic()
        programmer.put(
            endpoints("web", *numbers, name="web-4"),
            endpoints("sticky", *numbers, name="sticky-4"),
            endpoints("web", *numbers, name="web-6", family="IPv6"),
        )
        addresses = {pod_address(each, family) for each in numbers for family in ("IPv4", "IPv6")}
        began.append((at, time.monotonic(), frozenset(addresses)))

    with node.netns.inside():
        programmer = Programmer(node.place)
        programmer.start(
            service("web", WEB, clusterIPs=[WEB, "fd00:10:96::a"], ipFamilies=["IPv4", "IPv6"]),
            sticky("sticky", STICKY),
        )
        change(programmer)
        with node.flood(AT_ONCE, TOTAL, *vips) as flood:
            while flood.goes_on and len(flood.told) < TOTAL:
                change(programmer)
        counted = programmer.plane.tables.counters.read().values()
        programmer.close()
    overs = [over for _, over, _ in began[1:]] + [float("inf")]
    epochs = [Epoch(at, over, known) for (at, _, known), over in zip(began, overs, strict=True)]
    bad = wrong(flood.told, epochs)
    by_socket = sum(each.connections for each in counted)
    print(
        f"\n{len(flood.told)} connections, {AT_ONCE} at once, {len(began)} changes meanwhile, "
        f"{by_socket} answered at the socket, {len(bad)} wrong"
    )
    assert len(flood.told) == TOTAL
    assert not bad, Counter(each.end for each in bad)
    assert len(began) > 20
    assert by_socket > 0.99 * TOTAL


def test_a_programmer_that_is_killed_at_any_step_hurts_nobody(node: Node) -> None:
    with node.netns.inside():
        killed_programmer.bring_about(node.place, 0)
    path = os.pathsep.join(each for each in sys.path if each)
    allowed = [
        {pod_address(number) for state in STATES for number in state[vip]} for vip in (WEB, STICKY)
    ]
    program = str(_TOOLS / "killed_programmer.py")
    place = (str(node.place.cgroup), str(node.place.folder))
    with node.flood(20, 0, WEB, STICKY) as flood:
        told = node.netns.run(
            "env", f"PYTHONPATH={path}", sys.executable, program, *place, seconds=240
        ).splitlines()
        after = time.monotonic()
        until("some more came", lambda: bool(flood.told) and flood.told[-1].began > after)
    steps = len(told)
    print(f"\nkilled at {steps - 1} steps; {len(flood.told)} connections meanwhile")
    assert told[-1] == f"done {steps}"
    assert steps > 20
    bad = [each for each in flood.told if each.end not in allowed[each.target]]
    assert not bad, Counter(each.end for each in bad)
    last = [each for each in flood.told if each.began > after]
    assert all(
        each.end in {pod_address(n) for n in STATES[0][(WEB, STICKY)[each.target]]} for each in last
    )
    leaves_nothing(node)


def leaves_nothing(node: Node) -> None:
    """The maps are those of the first state, as if nobody had ever been killed."""
    with node.netns.inside():
        programmer = Programmer(node.place)
        programmer.start(*killed_programmer.objects(0))
        assert not programmer.sockets.take()
        tables = programmer.plane.tables
        wanted = programmer.sockets.everything()
        assert tables.frontends.read() == wanted.frontends
        assert tables.endpoints.read() == wanted.endpoints
        assert tables.members.read() == wanted.members
        assert OTHER not in {key.address for key in wanted.frontends}
        programmer.close()


def test_an_agent_that_is_killed_while_it_works_hurts_nobody(
    node: Node, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(11)  # any, but the same each time
    states = (range(1, 21), range(11, 41))
    agent = AgentProcess(node.netns, node.place, tmp_path_factory.mktemp("agent"))
    agent.lead(*states[0])
    agent.start()
    try:
        with node.flood(20, 0, VIP) as flood:
            for life in range(1, LIVES):
                agent.lead(*states[life % 2])
                time.sleep(chance.uniform(0, 0.05))  # it is at some step of it
                agent.kill()
                agent.begin()
                time.sleep(chance.uniform(0, 1.5))  # and of its start
                agent.kill()
                agent.start()
            agent.lead(*states[0])
            final = {pod_address(each) for each in states[0]}
            seen = len(flood.told)

            def only_final() -> bool:
                """A thousand in a row: of endpoints that went there would have been some."""
                last = flood.told[max(seen, len(flood.told) - 1000) :]
                return len(last) == 1000 and all(each.end in final for each in last)

            until("the last change is in force", only_final)
    finally:
        agent.kill()
    allowed = {pod_address(each) for state in states for each in state}
    bad = Counter(each.end for each in flood.told if each.end not in allowed)
    print(f"\nkilled {2 * LIVES - 2} times; {len(flood.told)} connections meanwhile")
    assert not bad
