"""Nodes leave a real cluster and come back, and a new one joins: routes, Services, pods follow."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import real_lab
from real_lab import kubectl
from scratch import until
from shop import cluster_ips, pod_netns, rules, status, until_in_sync, until_ready
from traffic import traffic

from podwire_core.files import write_json
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import credentials
from podwire_lab.machine import daemons, links, namespaces
from podwire_lab.machine.readiness import wait_until_ready
from podwire_lab.overview import look
from podwire_lab.show import reachability
from podwire_lab.topology import Lab, LabNode, plan_lab


def pod_cidrs(lab: Lab, name: str) -> tuple[str, ...]:
    """What the API says of its Node; nothing when it is not there."""
    return next((row.pod_cidrs for row in look(lab).nodes if row.name == name), ())


def routes(node: LabNode) -> set[str]:
    """Destinations of the routes to other nodes' pods that the node's kernel holds."""
    found: set[str] = set()
    for family in ("-4", "-6"):
        words = ["ip", "-j", family, "route", "show", "proto", "112"]
        enter = ["nsenter", f"--net={namespaces.path(node.netns)}"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, check=True)
        found |= {row["dst"] for row in json.loads(done.stdout or "[]")}
    return found


def mentions(node: LabNode, addresses: set[str]) -> set[str]:
    """Those of the addresses that stand in the node's rules for Services."""
    rows = [part for key, value in rules(node).items() for part in (*map(str, key), str(value))]
    return {each for each in addresses if any(each in row.split() for row in rows)}


def test_a_node_that_is_deleted_is_forgotten_and_one_that_returns_is_used_again(lab: Lab) -> None:
    stays, leaves = sorted(lab.nodes, key=lambda node: not has_visitor(lab, node))
    until_in_sync(lab)
    cidrs = set(pod_cidrs(lab, leaves.name))
    assert cidrs <= routes(stays)
    gone = {ip for row in look(lab).pods if row.node == leaves.name for ip in row.ips}
    assert mentions(stays, gone), "the shop has endpoints there"
    api = [(address, 80) for address in cluster_ips(lab, "shop", "api")]
    with customers_of(lab, [stays]):
        leave(lab, leaves)
        until("its routes are gone", lambda: not cidrs & routes(stays))
        until("its endpoints are gone", lambda: not mentions(stays, gone))
        frontend = pod_netns(lab, "shop", "frontend-", stays.name)
        answers = reachability.probe(frontend, [("tcp", *each) for each in api] * 40, 3)
        assert {outcome for outcome, _ in answers} == {"answered"}
        assert {line.split()[1] for _, line in answers} == {f"node={stays.name}"}
        until("its agent says that it has no Node", lambda: has_no_node(lab, leaves))

    daemons.start_runner(lab, leaves)
    until("it has podCIDRs again", lambda: bool(pod_cidrs(lab, leaves.name)))
    again = set(pod_cidrs(lab, leaves.name))
    until("its routes are back", lambda: again <= routes(stays))
    run_on(lab, leaves.name)
    wait_until_ready(lab)
    until("kernel and oracle agree", lambda: differences(lab) == [], 120)
    until("its agent has no problem", lambda: status(lab, leaves)["problems"] == [])


def test_a_node_that_joins_a_running_cluster_is_used(lab: Lab) -> None:
    whole = plan_lab(lab.name, 3, kubernetes=True)
    until_in_sync(lab)
    transactions = [status(lab, node)["transactions"]["policy"] for node in lab.nodes]
    with customers_of(lab, lab.nodes):
        join(whole, whole.nodes[2])
        until_ready(whole, whole.nodes[2])
        until("it has podCIDRs", lambda: bool(pod_cidrs(whole, "node3")))
        cidrs = set(pod_cidrs(whole, "node3"))
        for node in lab.nodes:
            until("its routes are there", lambda: cidrs <= routes(node))  # noqa: B023 - called in this turn
        others = {cidr for node in lab.nodes for cidr in pod_cidrs(whole, node.name)}
        until("and theirs on it", lambda: others <= routes(whole.nodes[2]))
        assert transactions == [
            status(lab, node)["transactions"]["policy"] for node in lab.nodes
        ], "a node without pods changes no policy"
        run_on(whole, "node3")
        wait_until_ready(whole)
    until("kernel and oracle agree", lambda: differences(whole) == [], 120)
    visitor = pod_netns(whole, "default", "on-node3")
    answers = reachability.probe(visitor, [("tcp", each.ips[0], 30080) for each in whole.nodes], 3)
    assert {outcome for outcome, _ in answers} == {"answered"}


def has_no_node(lab: Lab, node: LabNode) -> bool:
    """Whether the agent of a node says that there is no Node of its name."""
    return any("is that our name?" in row for row in status(lab, node)["problems"])


def has_visitor(lab: Lab, node: LabNode) -> bool:
    """Whether the one pod that nobody would make again is there."""
    return any(row.name == "visitor" and row.node == node.name for row in look(lab).pods)


@contextmanager
def customers_of(lab: Lab, nodes: Sequence[LabNode]) -> Iterator[None]:
    """Traffic from the world to a frontend that runs on one of the nodes, and needs no other."""
    names = {node.name for node in nodes}
    rows = [row for row in look(lab).pods if row.ready and row.node in names]
    address = next(row.ips[0] for row in rows if row.name.startswith("frontend-"))
    enter = pod_netns(lab, "default", "visitor")
    with traffic(enter, [(address, 8080)]):
        yield


def leave(lab: Lab, node: LabNode) -> None:
    """What a person does whose machine has burnt: its Node goes, and its pods by force.

    Left alone the controller manager collects them, after a quarantine of 40 seconds.
    """
    daemons.stop_runner(lab, node)
    kubectl(lab, "delete", "node", node.name)
    bound = f"--field-selector=spec.nodeName={node.name}"
    kubectl(lab, "delete", "pods", "-A", bound, "--force", "--grace-period=0")


def join(whole: Lab, node: LabNode) -> None:
    """Start a node that the lab was not made with.

    The authority's key is forgotten when all is signed, so this one borrows the administrator's
    identity, and what another node shows to those who ask for logs.
    """
    where = Folders.of(whole.name)
    keys = where.kubernetes
    credentials.kubeconfig(whole, node.name).write_bytes((keys / "admin.kubeconfig").read_bytes())
    for suffix in ("crt", "key"):
        (keys / f"{node.name}.{suffix}").write_bytes((keys / f"node1.{suffix}").read_bytes())
    for file in keys.glob(f"{node.name}.*"):
        file.chmod(0o600)
    for folder in (where.node(node.name), where.reports / node.name):
        folder.mkdir(mode=0o700)
    write_json(where.lab_file, whole)
    links.make_node(whole, node)
    daemons.start_runner(whole, node)
    daemons.start_agent(whole, node)


def run_on(lab: Lab, node: str) -> None:
    """A pod that the scheduler can only put there."""
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": node},
        "containers": [{"name": "c", "image": "none", "ports": [{"containerPort": 8080}]}],
    }
    metadata = {"name": f"on-{node}", "labels": {"app": "settler"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    kubectl(lab, "apply", "-f", "-", stdin=msgspec.json.encode(pod).decode())
    kubectl(lab, "wait", f"pod/on-{node}", "--for=condition=Ready", "--timeout=120s")


def differences(lab: Lab) -> list[object]:
    """Where kernel and oracle do not agree on who reaches whom."""
    done = real_lab.podwire(lab, "reach", "--json")
    found: list[object] = json.loads(done.stdout)["differences"]
    return found
