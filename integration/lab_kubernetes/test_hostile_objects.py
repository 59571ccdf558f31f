"""Everything the API server takes, however odd: agents stay ready, name what they cannot use,
and the rest is in force.

One namespace with a name at its limit holds it all: two pods, Services, slices made by hand,
policies. The shop's customers are there all the time and notice nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import real_lab
from real_lab import kubectl
from scratch import until
from shop import customers, pod_netns, rules, status, until_in_sync

from podwire_lab.machine import daemons
from podwire_lab.machine.readiness import wait_until_ready
from podwire_lab.show import reachability
from podwire_lab.topology import Lab

SPACE = "n" * 63
LONG_PORT = "a-port-of-15-ab"
Document = dict[str, Any]


def document(version: str, kind: str, name: str, **rest: Any) -> Document:
    metadata = {"name": name, "namespace": SPACE, **rest.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def apply(lab: Lab, *documents: Document) -> str:
    """Given to the server as they are; it drops what it does not know."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)})
    return kubectl(lab, "apply", "--server-side", "--validate=ignore", "-f", "-", stdin=text)


def pod(name: str, **labels: str) -> Document:
    ports = [
        {"name": "web", "containerPort": 8080},
        {"name": LONG_PORT, "containerPort": 65535},
        {"name": "twice", "containerPort": 8080, "protocol": "UDP"},
        {"name": "stream", "containerPort": 8080, "protocol": "SCTP"},
        {"containerPort": 1},
    ]
    many = {f"x{number}.example.com/{'k' * 63}": "v" * 63 for number in range(100)}
    metadata = {"labels": {**labels, **many}, "annotations": {"note": "č́🦆\u202e" * 9000}}
    containers = [{"name": "c" * 63, "image": "none", "ports": ports}]
    return document("v1", "Pod", name, metadata=metadata, spec={"containers": containers})


def service(name: str, ports: list[Document], **spec: Any) -> Document:
    return document("v1", "Service", name, spec={"ports": ports, **spec})


def slice_of(
    service_name: str, number: int, endpoints: list[Document], ports: object, kind: str = "IPv4"
) -> Document:
    labels = {"labels": {"kubernetes.io/service-name": service_name}}
    rest = {"addressType": kind, "endpoints": endpoints, "ports": ports}
    return document(
        "discovery.k8s.io/v1", "EndpointSlice", f"{service_name}-{number}", metadata=labels, **rest
    )


def policy(name: str, **spec: Any) -> Document:
    return document("networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


@pytest.fixture(scope="module")
def hostile(lab: Lab) -> Iterator[Lab]:
    """The lab, with the namespace and its two pods; customers are there until the end."""
    pids = [daemons.agent_pid(lab, node) for node in lab.nodes]
    apply(lab, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    account = ("get", "serviceaccount", "default", "-n", SPACE, "--ignore-not-found", "-o", "name")
    until("its account is there", lambda: bool(kubectl(lab, *account)))
    with customers(lab, long=4):
        apply(lab, pod("odd", app="odd", tier="one"), pod("even", app="even"))
        wait_until_ready(lab)
        yield lab
    assert pids == [daemons.agent_pid(lab, node) for node in lab.nodes], "none has ended"


def asked(lab: Lab, address: str, *ports: int) -> list[str]:
    """Outcomes of a connection to each port, from the visitor."""
    rows = reachability.probe(
        pod_netns(lab, "default", "visitor"), [("tcp", address, port) for port in ports], 3
    )
    return [outcome for outcome, _ in rows]


def address_of(lab: Lab, name: str) -> str:
    return kubectl(lab, "get", "service", "-n", SPACE, name, "-o", "jsonpath={.spec.clusterIP}")


def ip_of(lab: Lab, name: str) -> str:
    return kubectl(lab, "get", "pod", "-n", SPACE, name, "-o", "jsonpath={.status.podIP}")


def problems(lab: Lab) -> list[str]:
    return [row for node in lab.nodes for row in status(lab, node)["problems"]]


def test_a_service_of_a_hundred_ports_and_the_longest_names_is_served(hostile: Lab) -> None:
    name = "s" * 63
    ports = [
        {"name": f"{'p' * 59}{row:04}"[-63:], "port": 1000 + row, "targetPort": "web"}
        for row in range(100)
    ]
    annotations = {"annotations": {"note": "ü🦆" * 40_000}, "surprise": {"unknown": ["field"]}}
    made = service(name, ports, selector={"app": "odd"})
    made["metadata"] |= annotations
    made["spec"]["surprise"] = {"unknown": 1}
    text = json.dumps(made)  # what is created is cleaned of unknown fields, what is applied refused
    kubectl(hostile, "create", "--validate=ignore", "-f", "-", stdin=text)
    until(
        "all ports answer",
        lambda: set(asked(hostile, address_of(hostile, name), *range(1000, 1100))) == {"answered"},
    )


def test_a_thousand_endpoints_of_one_slice_are_in_force(hostile: Lab) -> None:
    rows: list[Document] = [
        {"addresses": [f"10.250.{number // 250}.{number % 250 + 1}"]} for number in range(1000)
    ]
    apply(hostile, service("crowd", [{"port": 80}]), slice_of("crowd", 1, rows, [{"port": 8080}]))
    address = address_of(hostile, "crowd")
    for node in hostile.nodes:
        until("all are there", lambda: crowd(node, address) == 1000)  # noqa: B023 - called in this turn
    kubectl(hostile, "delete", "service", "-n", SPACE, "crowd")
    for node in hostile.nodes:
        until("all are gone", lambda: crowd(node, address) == 0)  # noqa: B023 - called in this turn


def crowd(node: Any, address: str) -> int:
    """How many endpoints a node's kernel has for an address."""
    keys = [key for key in rules(node) if len(key) == 5 and key[3].startswith("endpoints")]
    return sum(address in key[4].split() for key in keys)


def test_odd_slices_are_used_as_far_as_they_go(hostile: Lab) -> None:
    odd, even = ip_of(hostile, "odd"), ip_of(hostile, "even")
    port = [{"port": 8080}]
    names = ["twins", "nothing", "anything", "names", "mixed"]
    apply(hostile, *(service(name, [{"port": 80}]) for name in names))
    apply(
        hostile,
        slice_of("twins", 1, [{"addresses": [odd]}, {"addresses": [odd]}], port),
        slice_of("twins", 2, [{"addresses": [odd]}], port),
        slice_of("nothing", 1, [{"addresses": [odd]}], None),
        slice_of("anything", 1, [{"addresses": [odd]}], [{"port": None}]),
        slice_of("names", 1, [{"addresses": ["example.com"]}], port, "FQDN"),
        slice_of("mixed", 1, [{"addresses": ["example.com"]}], port, "FQDN"),
        slice_of("mixed", 2, [{"addresses": [even], "conditions": {"ready": None}}], port),
        slice_of("mixed", 3, [{"addresses": [odd], "conditions": {"ready": False}}], port),
        slice_of("nobody", 1, [{"addresses": [odd]}], port),
    )
    expected = {
        "twins": "answered",
        "nothing": "refused",
        "anything": "refused",
        "names": "refused",
        "mixed": "answered",
    }
    addresses = {name: address_of(hostile, name) for name in names}

    def found() -> dict[str, str]:
        return {name: asked(hostile, addresses[name], 80)[0] for name in names}

    def crowds() -> dict[str, list[int]]:
        return {
            name: [crowd(node, addresses[name]) for node in hostile.nodes]
            for name in ("twins", "mixed")
        }

    until(f"{expected}, not {found()}", lambda: found() == expected)
    until("each is one endpoint", lambda: crowds() == {"twins": [1, 1], "mixed": [1, 1]})


def test_policies_with_every_operator_are_what_the_oracle_says(hostile: Lab) -> None:
    blocks = [
        {"ipBlock": {"cidr": f"10.0.0.0/{8 + row % 24}", "except": [f"10.0.0.0/{9 + row % 24}"]}}
        for row in range(98)
    ]
    blocks += [{"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.0.0/17"]}}]
    blocks += [{"ipBlock": {"cidr": "::/0", "except": ["fd00:10:244:1::/64"]}}]
    operators = [
        {"key": "app", "operator": "In", "values": ["odd", "frontend", "v" * 63]},
        {"key": "app", "operator": "NotIn", "values": ["even"]},
        {"key": "app", "operator": "Exists"},
        {"key": "nobody.example.com/has", "operator": "DoesNotExist"},
    ]
    peers = [{"namespaceSelector": {}, "podSelector": {"matchExpressions": operators}}]
    apply(
        hostile,
        policy(
            "blocks",
            podSelector={"matchLabels": {"app": "odd"}},
            ingress=[{"from": blocks, "ports": [{"port": LONG_PORT}, {"port": 1, "endPort": 99}]}],
        ),
        policy(
            "operators",
            podSelector={"matchExpressions": operators[:1]},
            ingress=[{"from": peers, "ports": [{"port": "web"}, {"port": 8, "protocol": "SCTP"}]}],
        ),
        policy(
            "unlabelled",
            podSelector={"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            policyTypes=["Ingress", "Egress"],
            ingress=[{"ports": [{"port": "no-such-port"}, {"port": 8080, "endPort": 65535}]}],
            egress=[{"to": [{"podSelector": {}}]}],
        ),
    )
    until_in_sync(hostile)

    def summed_up() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(real_lab.podwire(hostile, "reach", "--json").stdout)
        return found

    until("kernel and oracle agree", lambda: summed_up()["differences"] == [], 120)
    summary = summed_up()
    assert 0 < summary["denied"] < summary["dialled"]


def test_a_policy_with_a_name_of_253_characters_is_in_force(hostile: Lab) -> None:
    address = ip_of(hostile, "even")
    visitor = pod_netns(hostile, "default", "visitor")

    def outcome() -> str:
        return reachability.probe(visitor, [("tcp", address, 8080)], 3)[0][0]

    lonely = policy("p" * 253, podSelector={}, policyTypes=["Egress"])
    nobody = policy("l" * 253, podSelector={"matchLabels": {"app": "even"}})
    kubectl(hostile, "delete", "networkpolicies", "-n", SPACE, "--all")
    until("everyone may", lambda: outcome() == "answered")
    apply(hostile, lonely, nobody)
    until("nobody may", lambda: outcome() == "silent")
    kubectl(hostile, "delete", "networkpolicies", "-n", SPACE, "--all")
    until("everyone may again", lambda: outcome() == "answered")


def test_what_cannot_be_used_is_named_and_is_forgotten_with_its_object(hostile: Lab) -> None:
    until_in_sync(hostile)
    until("no problem is left", lambda: problems(hostile) == [])
    nodes = json.loads(kubectl(hostile, "get", "nodes", "-o", "json"))["items"]
    taken = nodes[0]["spec"]["podCIDRs"]
    ghost = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "z" * 253}}
    ghost |= {"spec": {"podCIDR": taken[0], "podCIDRs": taken, "unschedulable": True}}
    kubectl(hostile, "create", "-f", "-", stdin=json.dumps(ghost))
    until("all agents name it", lambda: len(named(hostile, "zzz")) >= len(hostile.nodes))
    assert "podCIDRs" in named(hostile, "zzz")[0]
    warnings = ("get", "events", "-A", "--field-selector=type=Warning", "-o", "json")
    until("it has an Event", lambda: "z" * 253 in kubectl(hostile, *warnings))
    for node in hostile.nodes:
        said = status(hostile, node)
        assert said["ready"]
        assert set(said["failures"].values()) == {0}
    kubectl(hostile, "delete", "node", "z" * 253)
    until("it is forgotten", lambda: problems(hostile) == [])


def named(lab: Lab, start: str) -> list[str]:
    return [row for row in problems(lab) if start in row]
