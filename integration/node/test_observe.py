"""A packet that policies drop becomes a record that names pods, policies and the nearest miss.

```
 frontend 10.244.1.4 ──┐        ┌── db 10.244.2.5 (n2: no agent)
 cache    10.244.1.5 ──┼── n1 ──┤
 locked   10.244.1.6 ──┘ agent  └── outside 203.0.113.9
```

and the same in IPv6. Packets are made by hand, so nobody answers and each has a known number.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import crafted
import packet_site
import pytest
from crafted import Way
from packet_site import OUTSIDE, Site
from packet_stage import one_processor
from scratch import Netns, until

from podwire_core.family import FAMILIES, family_of
from podwire_node.control.client import AgentClient
from podwire_node.control.errors import ControlError

SITE = Site(
    nodes={"n1": ("192.168.7.1", "fd00:7::1"), "n2": ("192.168.7.2", "fd00:7::2")},
    pods={
        "frontend": ("n1", ("10.244.1.4", "fd00:10:244:1::4")),
        "cache": ("n1", ("10.244.1.5", "fd00:10:244:1::5")),
        "locked": ("n1", ("10.244.1.6", "fd00:10:244:1::6")),
        "db": ("n2", ("10.244.2.5", "fd00:10:244:2::5")),
    },
    outside=("203.0.113.9", "2001:db8::9"),
)
PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP")
V4, V6 = FAMILIES
#: Protocols and extension headers; of IPv6 those that the kernel looks into at the destination.
RUBBISH = {V4: (0, 43, 44, 51, 60, 132, 255), V6: (51, 60, 132, 255)}
Flow = dict[str, Any]


@dataclass
class Place:
    """The site, an agent on n1, and the objects it reads."""

    netns: dict[str, Netns]
    folder: Path
    agents: list[subprocess.Popen[bytes]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def socket(self) -> Path:
        return self.folder / "control/agent.sock"

    @property
    def client(self) -> AgentClient:
        return AgentClient(self.socket)

    def put(self, kind: str, name: str, version: str = "v1", **fields: object) -> None:
        namespace, _, own = name.rpartition("/")
        metadata = {"name": own, **fields.pop("metadata", {})}  # type: ignore[dict-item]  # a dict
        if namespace:
            metadata["namespace"] = namespace
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
        hidden = self.folder / "objects/.new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self.path(kind, name))

    def path(self, kind: str, name: str) -> Path:
        return self.folder / f"objects/{kind}.{name.replace('/', '.')}.json"

    def put_pod(self, name: str, **labels: str) -> None:
        node, addresses = SITE.pods[name]
        status = {"phase": "Running", "podIPs": [{"ip": each} for each in addresses]}
        metadata = {"labels": labels or {"app": name}}
        spec = {"nodeName": node}
        self.put("Pod", f"shop/{name}", metadata=metadata, spec=spec, status=status)

    def put_policy(self, name: str, **spec: object) -> None:
        self.put("NetworkPolicy", f"shop/{name}", "networking.k8s.io/v1", spec=spec)

    def start(self, *options: str) -> None:
        status = self.folder / "status.json"
        status.unlink(missing_ok=True)
        command = [sys.executable, "-m", "podwire_node", "agent", "--node", "n1"]
        command += ["--feed", str(self.folder / "objects"), "--status", str(status)]
        command += ["--components", "policy", "--control-socket", str(self.socket), *options]
        inside = ["nsenter", f"--net=/run/netns/{self.netns['n1'].name}"]
        with (self.folder / "agent.log").open("ab") as log:
            self.agents.append(subprocess.Popen([*inside, *command], stderr=log))
        until("the agent is ready", lambda: self.status().get("ready", False))

    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "status.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def settle(self) -> None:
        """Wait until what was put is in force: the agent's count of objects is the folder's."""
        files = len(list((self.folder / "objects").glob("*.json")))
        until("it read all", lambda: self.status().get("objects") == files)
        until("it is in force", lambda: self.status()["in_sync"])

    def stop(self) -> None:
        self.agents[-1].send_signal(signal.SIGTERM)
        assert self.agents[-1].wait(20) == 0

    def send(self, place: str, *packets: bytes) -> None:
        """From a pod, or from outside by n1."""
        device = "n1" if place == OUTSIDE else "eth0"
        number = packet_site.number_of(SITE, "n1" if place == OUTSIDE else place)
        to, sender = packet_site.mac(1, number), packet_site.mac(2, number)
        with self.netns[place].inside():
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with raw:
            raw.bind((device, 0))
            for each in packets:
                raw.send(crafted.frame(to, sender, each))

    def opening(self, protocol: str, source: str, destination: str, port: int = 80) -> bytes:
        number = next(self.numbers)
        ports = () if protocol == "ICMP" else (20000 + number, port)
        return crafted.opening(protocol, Way(source, destination, *ports), number)

    def flows(self, **fields: object) -> list[Flow]:
        return list(self.client.ask("observe", {"last": 4096, **fields}))

    def expect(self, count: int) -> list[Flow]:
        """The records, once there are so many."""
        until(f"{count} records", lambda: len(self.flows()) >= count)
        found = self.flows()
        assert len(found) == count, found[count:]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        made = Place(stack.enter_context(packet_site.built(SITE)), tmp_path)
        (tmp_path / "objects").mkdir()
        made.put("Namespace", "shop")
        for number, (name, addresses) in enumerate(SITE.nodes.items(), 1):
            cidrs = [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]
            rows = [{"type": "InternalIP", "address": each} for each in addresses]
            made.put("Node", name, spec={"podCIDRs": cidrs}, status={"addresses": rows})
        for name in SITE.pods:
            made.put_pod(name)
        # frontend may talk to cache alone, by TCP 6379; cache hears nobody but app=api.
        made.put_policy(
            "frontend",
            podSelector={"matchLabels": {"app": "frontend"}},
            policyTypes=["Egress"],
            egress=[{"to": [{"podSelector": {"matchLabels": {"app": "cache"}}}],
                     "ports": [{"port": 6379}]}],
        )  # fmt: skip
        made.put_policy(
            "cache",
            podSelector={"matchLabels": {"app": "cache"}},
            ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "api"}}}]}],
        )
        yield made
        for each in made.agents:
            if each.poll() is None:
                each.kill()
            each.wait()


def ends(*names: str) -> Iterator[tuple[str, ...]]:
    """Addresses of pods, family by family; `outside` too."""
    known = {name: addresses for name, (_, addresses) in SITE.pods.items()}
    known["outside"] = SITE.outside
    return zip(*(known[each] for each in names), strict=True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pod_that_may_not_send_there_is_named_with_its_policies(
    place: Place, protocol: str
) -> None:
    place.start()
    for here, there in ends("frontend", "db"):
        place.send("frontend", place.opening(protocol, here, there))
    flows = place.expect(2)
    for flow, (here, there), version in zip(
        flows, ends("frontend", "db"), ("IPv4", "IPv6"), strict=True
    ):
        assert flow["IP"] == {"source": here, "destination": there, "ipVersion": version}
        assert flow["source"] == {
            "namespace": "shop", "pod_name": "frontend", "labels": ["k8s:app=frontend"]
        }  # fmt: skip
        assert flow["destination"]["pod_name"] == "db"
        assert (flow["verdict"], flow["traffic_direction"]) == ("DROPPED", "EGRESS")
        assert flow["node_name"] == "n1"
        assert flow["egress_denied_by"] == [
            {"name": "frontend", "namespace": "shop", "kind": "NetworkPolicy"}
        ]
        why = "isolates pod shop/frontend for egress and does not allow it"
        assert flow["reason"] == f"NetworkPolicy shop/frontend {why}"
        assert "shop/frontend egress[0] allows port 6379/TCP to" in flow["nearest_miss"]
        assert "shop/db (app=db)" in flow["nearest_miss"]
        layer = {"TCP": "TCP", "UDP": "UDP", "SCTP": "SCTP"}.get(protocol)
        if layer:
            assert flow["l4"][layer]["destination_port"] == 80
        else:
            kind = {"IPv4": ("ICMPv4", 8), "IPv6": ("ICMPv6", 128)}[version]
            assert flow["l4"][kind[0]]["type"] == kind[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pod_that_may_not_be_reached_is_named_with_its_policies(
    place: Place, protocol: str
) -> None:
    place.start()
    for here, there in ends("locked", "cache"):
        place.send("locked", place.opening(protocol, here, there, 6379))
    for here, there in ends("outside", "cache"):
        place.send(OUTSIDE, place.opening(protocol, here, there, 6379))
    flows = place.expect(4)
    for flow in flows:
        assert flow["traffic_direction"] == "INGRESS"
        assert flow["destination"]["pod_name"] == "cache"
        assert [each["name"] for each in flow["ingress_denied_by"]] == ["cache"]
        assert "shop/cache ingress[0] allows every port from app=api" in flow["nearest_miss"]
    sources = [flow["source"].get("pod_name") or flow["source"]["labels"] for flow in flows]
    assert sources == ["locked"] * 2 + [["reserved:world"]] * 2


def test_what_is_allowed_leaves_no_record(place: Place) -> None:
    place.start()
    for here, there in ends("locked", "db"):
        place.send("locked", place.opening("TCP", here, there))
    for here, there in ends("frontend", "cache"):  # frontend may, and cache does not let it
        place.send("frontend", place.opening("TCP", here, there, 6379))
    flows = place.expect(2)
    assert {flow["traffic_direction"] for flow in flows} == {"INGRESS"}


def test_a_cluster_policys_rule_that_denies_is_named(place: Place) -> None:
    place.put(
        "ClusterNetworkPolicy",
        "lock",
        "policy.networking.k8s.io/v1alpha2",
        spec={
            "tier": "Admin",
            "priority": 10,
            "subject": {"pods": {"podSelector": {"matchLabels": {"app": "locked"}}}},
            "egress": [
                {"action": "Deny", "name": "no world", "to": [{"networks": ["203.0.113.0/24"]}]}
            ],
        },
    )
    place.start()
    (here, *_), there = SITE.pods["locked"][1], SITE.outside[0]
    place.send("locked", place.opening("TCP", here, there, 443))
    (flow,) = place.expect(1)
    rule = 'ClusterNetworkPolicy lock egress[0] "no world"'
    assert flow["reason"] == f"{rule} denies it"
    assert flow["drop_reason_desc"] == "POLICY_DENY"
    assert flow["egress_denied_by"] == [{"name": "lock", "kind": "ClusterNetworkPolicy"}]


def test_an_address_that_no_pod_has_is_named_as_unknown(place: Place) -> None:
    place.start()
    # Without a route it were a pod that borrows an address, which is dropped before.
    device = packet_site.pod_device(SITE, "locked")
    place.netns["n1"].run("ip", "route", "add", "fd00:10:244:1::77", "dev", device)
    for stranger, there in (("10.244.1.77", "10.244.2.5"), ("fd00:10:244:1::77", "fd00:7::2")):
        place.send("locked", place.opening("UDP", stranger, there, 53))
    flows = place.expect(2)
    for flow in flows:
        assert (flow["kind"], flow["traffic_direction"]) == ("unknown", "EGRESS")
        assert flow["source"] == {"labels": ["reserved:unmanaged"]}
        assert "is one of n1's pod addresses, and no pod has it" in flow["reason"]


def test_a_connection_that_is_cut_is_named_as_older_than_its_policies(place: Place) -> None:
    place.start("--existing-connections", "recheck")
    here, there = next(ends("locked", "db"))
    way = Way(here, there, 40000, 50051)
    place.send("locked", crafted.datagram(way, 1))
    place.send("db", crafted.datagram(way.back, 2))
    place.put_policy(
        "locked", podSelector={"matchLabels": {"app": "locked"}}, policyTypes=["Egress"]
    )

    def cut() -> bool:
        place.send("db", crafted.datagram(way.back, 3))
        place.send("locked", crafted.datagram(way, 4))
        return len(place.flows()) >= 2

    until("it is cut", cut)
    for flow in place.flows():
        assert flow["kind"] == "cut"
        assert [each["name"] for each in flow["egress_denied_by"]] == ["locked"]
        assert flow["reason"] == (
            "this connection is older than policies that do not allow it: NetworkPolicy "
            "shop/locked isolates pod shop/locked for egress and does not allow it"
        )


def test_names_follow_the_objects(place: Place) -> None:
    place.start()
    here, there = next(ends("frontend", "db"))
    place.send("frontend", place.opening("TCP", here, there))
    place.expect(1)
    place.put_pod("db", app="database")
    until(
        "the agent read it",
        lambda: (
            place.send("frontend", place.opening("TCP", here, there)),
            place.flows(last=1)[0]["destination"]["labels"] == ["k8s:app=database"],
        )[1],
    )


def test_followers_get_each_record_as_it_comes(place: Place) -> None:
    place.start()
    here, there = next(ends("frontend", "db"))
    command = [sys.executable, "-m", "podwire_node", "observe", "--socket", str(place.socket)]
    follower = subprocess.Popen(
        [*command, "--verdict", "dropped", "--follow", "--json"], stdout=subprocess.PIPE, bufsize=0
    )
    try:
        until("it follows", lambda: _heard(place, follower, 1) is not None)
        waits = []
        for port in range(5000, 5005):
            began = time.monotonic()
            place.send("frontend", place.opening("TCP", here, there, port))
            while (heard := _line(follower)["l4"]["TCP"]["destination_port"]) != port:
                assert heard == 1, "of the search above"
            waits.append(time.monotonic() - began)
        print(f"a drop is shown after {[f'{1000 * each:.0f}' for each in waits]} ms")
        assert min(waits) < 2, waits
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) == 130
        if follower.stdout:
            follower.stdout.close()


def _heard(place: Place, follower: subprocess.Popen[bytes], port: int) -> Flow | None:
    """A record that a follower shows soon after one more packet, if it follows already."""
    here, there = next(ends("frontend", "db"))
    place.send("frontend", place.opening("TCP", here, there, port))
    return _line(follower) if select.select([follower.stdout], [], [], 0.2)[0] else None


def _line(follower: subprocess.Popen[bytes]) -> Flow:
    assert follower.stdout is not None
    assert select.select([follower.stdout], [], [], 10)[0], "it shows nothing"
    return dict(json.loads(follower.stdout.readline()))


def test_a_flood_gives_as_many_records_as_its_limit_and_costs_little(place: Place) -> None:
    """100,000 packets to one group: 20 at once, then 10 a second."""
    place.start()
    here, there = next(ends("frontend", "db"))
    packets = [place.opening("UDP", here, there) for _ in range(500)]
    before, began = _cpu_seconds(place), time.monotonic()
    with one_processor():  # or they wait for another one, where there is room for 1,000
        for _ in range(200):
            place.send("frontend", *packets)
    took = time.monotonic() - began
    until("the last are there", lambda: len(place.flows()) >= 20)
    flows = place.flows()
    spent = _cpu_seconds(place) - before
    counters = place.netns["n1"].run("nft", "list", "table", "ip", "podwire-policy")
    dropped = sum(int(each.split()[0]) for each in counters.split("counter packets ")[1:])
    print(f"{took:.1f} s: {dropped} dropped, {len(flows)} records, agent {spent:.2f} s of CPU")
    assert dropped == 100_000
    assert 20 <= len(flows) <= 25 + 10 * (took + 1)
    assert spent < 0.25 * took + 2


def _cpu_seconds(place: Place) -> float:
    after = Path(f"/proc/{place.agents[-1].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")


def test_packets_that_are_rubbish_are_dropped_like_others_and_harm_nobody(place: Place) -> None:
    place.start()
    rubbish = bytes(range(60, 90))
    for here, there in ends("frontend", "db"):
        for protocol in RUBBISH[family_of(here)]:
            place.send("frontend", crafted.ip_packet(Way(here, there), protocol, rubbish))
        place.send("frontend", place.opening("TCP", here, there))
    flows = place.expect(sum(map(len, RUBBISH.values())) + 2)
    good = [flow["IP"]["ipVersion"] for flow in flows if "TCP" in (flow.get("l4") or {})]
    assert good == ["IPv4", "IPv6"]
    assert {flow["source"]["pod_name"] for flow in flows} == {"frontend"}


def test_the_socket_is_for_root_alone_and_each_agent_has_its_own(place: Place) -> None:
    place.start()
    assert stat.S_IMODE(place.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.socket.parent.stat().st_mode) == 0o700
    place.stop()
    assert not place.socket.exists()
    with pytest.raises(ControlError, match="no agent listens here"):
        place.flows()


def test_an_agent_that_was_stopped_is_named_and_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("podwire_node.control.client._HEARD_S", 1.0)
    place.start()
    agent = place.agents[-1]
    agent.send_signal(signal.SIGSTOP)
    with pytest.raises(ControlError, match=f"process {agent.pid}.* does not answer"):
        place.flows()
    monkeypatch.undo()
    agent.send_signal(signal.SIGCONT)
    assert place.flows() == [], "it goes on"


def test_who_listens_to_the_log_before_us_is_a_problem_that_passes(place: Place) -> None:
    place.start()
    place.start("--control-socket", str(place.folder / "second/agent.sock"))
    assert any("drops are not seen" in each for each in place.status()["problems"])
    first, second = place.agents
    first.terminate()
    first.wait(20)
    until("the second listens", lambda: _hears(place))
    assert second.poll() is None


def _hears(place: Place) -> bool:
    place.send("frontend", place.opening("TCP", *next(ends("frontend", "db"))))
    client = AgentClient(place.folder / "second/agent.sock")
    return bool(list(client.ask("observe", {"last": 1})))


def test_a_socket_that_cannot_be_is_a_problem_and_no_end(place: Place) -> None:
    folder = place.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    place.start("--control-socket", str(folder / "agent.sock"))
    (problem,) = place.status()["problems"]
    assert "nobody can ask this agent" in problem
    assert "chmod go-w" in problem


def test_the_loop_goes_on_while_clients_are_slow(place: Place) -> None:
    """A client that follows and never reads, while a thousand records come."""
    place.start()
    with socket.socket(socket.AF_UNIX) as slow:
        slow.connect(str(place.socket))
        slow.sendall(b'{"verb": "observe", "follow": true}\n')
        here, there = next(ends("frontend", "db"))
        place.send("frontend", *(place.opening("TCP", here, there) for _ in range(1000)))
        place.put_policy("late", podSelector={"matchLabels": {"app": "locked"}})
        until("the policy is in force", lambda: "late" in _table(place))


def _table(place: Place) -> str:
    return place.netns["n1"].run("nft", "list", "table", "ip", "podwire-policy")
