"""Every Service of examples/services does what its comment says, in a lab with two zones."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from scratch import until

from podwire_lab.machine import cluster, namespaces
from podwire_lab.overview import Lookout, look
from podwire_lab.show import reachability
from podwire_lab.topology import Lab, plan_lab

SERVICES = Path(__file__).parents[2] / "examples" / "services"
MANY = 24
PATIENCE = 5.0  # seconds; all are dialled at once, so it is waited for once


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    planned = plan_lab(f"s{os.getpid()}", 2, zones=("a", "b"))
    try:
        assert cluster.up(planned, [SERVICES]).errors == ()
        yield planned
    finally:
        cluster.down(planned.name)


@pytest.fixture
def client(lab: Lab) -> str:
    """A pod on node2."""
    return namespaces.pod_netns(lab.name, "square", "client")


def met(source: str, address: str, port: int = 80, protocol: str = "tcp") -> set[str]:
    """The node of whoever answers new connections, or what happens in place of an answer."""
    asked = reachability.probe(source, [(protocol, address, port)] * MANY, PATIENCE)
    return {line.split()[1] if outcome == "answered" else outcome for outcome, line in asked}


def client_of(line: str) -> str:
    return line.rpartition("client=")[2].rpartition(":")[0].strip("[]")


def seen(source: str, address: str, port: int) -> set[str]:
    """Whom the server takes for its client."""
    asked = reachability.probe(source, [("tcp", address, port)], PATIENCE)
    return {client_of(line) for _, line in asked}


def address(lab: Lab, name: str, family: int = 0) -> str:
    (row,) = (row for row in look(lab).services if row.name == name)
    return row.cluster_ips[family]


def outer(lab: Lab, name: str) -> tuple[str, ...]:
    (row,) = (row for row in look(lab).services if row.name == name)
    return row.outer_ips


BOTH = {"node=node1", "node=node2"}


def test_nothing_is_wrong(lab: Lab) -> None:
    overview = look(lab)
    assert overview.problems == ()
    assert overview.missing == ()


def test_kernel_and_oracle_agree_among_all_these_services(lab: Lab) -> None:
    with Lookout(lab) as lookout:
        lookout.look()
        answers = reachability.ask(lab, lookout.snapshot)
    assert answers.differences == []
    assert answers.reached


def test_a_plain_service_chooses_anew_for_each_connection(lab: Lab, client: str) -> None:
    assert met(client, address(lab, "plain")) == BOTH
    assert met(client, address(lab, "plain", 1)) == BOTH
    assert met(client, address(lab, "plain"), 80, "udp") == BOTH


def test_a_sticky_service_chooses_once(lab: Lab, client: str) -> None:
    assert len(met(client, address(lab, "sticky"))) == 1


def test_a_local_service_and_a_close_one_stay_on_the_node_and_in_the_zone(
    lab: Lab, client: str
) -> None:
    assert met(client, address(lab, "own-node")) == {"node=node2"}
    assert met(client, address(lab, "close")) == {"node=node2"}


def test_a_service_of_nobody_refuses(lab: Lab, client: str) -> None:
    assert met(client, address(lab, "nobody")) == {"refused"}
    assert met(client, address(lab, "nobody"), 81) == {"refused"}


def test_an_address_of_no_service_is_silent(client: str) -> None:
    assert met(client, "10.96.200.200") == {"silent"}


def test_a_node_port_answers_at_every_node_or_where_the_pod_is(lab: Lab) -> None:
    first, second = (node.ips[0] for node in lab.nodes)
    for node in (first, second):
        assert met(lab.fabric, node, 30081) == {"node=node1"}
        assert seen(lab.fabric, node, 30081) != {lab.gateways[0]}
    assert met(lab.fabric, first, 30082) == {"node=node1"}
    assert seen(lab.fabric, first, 30082) == {lab.gateways[0]}
    assert met(lab.fabric, second, 30082) == {"silent"}


def test_the_world_reaches_a_balancer_at_addresses_of_both_families(lab: Lab) -> None:
    addresses = outer(lab, "balanced")
    assert len(addresses) == 2
    for each in addresses:
        assert met(lab.fabric, each) == {"node=node1"}
    assert seen(lab.fabric, addresses[0], 80) == {lab.gateways[0]}


def local_endpoints(lab: Lab, node: int) -> int | None:
    """What a node's health port tells; None while nobody listens."""
    url = f"http://{lab.nodes[node].ips[0]}:30090/"
    enter = ("nsenter", f"--net={namespaces.path(lab.fabric)}")
    done = subprocess.run(
        [*enter, "curl", "-s", "--noproxy", "*", "--max-time", "5", url],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(json.loads(done.stdout)["localEndpoints"]) if done.stdout else None


def test_a_balancers_health_port_tells_where_pods_are(lab: Lab) -> None:
    until("both nodes tell", lambda: [local_endpoints(lab, n) for n in (0, 1)] == [1, 0])


def test_a_guarded_balancer_answers_to_pods_alone(lab: Lab, client: str) -> None:
    (guarded,) = outer(lab, "guarded")
    assert met(client, guarded) == BOTH
    assert met(lab.fabric, guarded) == {"silent"}


def test_an_external_address_is_served_on_the_way(lab: Lab, client: str) -> None:
    assert outer(lab, "external") == ("203.0.113.7",)
    assert met(client, "203.0.113.7") == BOTH
