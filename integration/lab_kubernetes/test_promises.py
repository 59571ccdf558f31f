"""Traffic goes on while agents are upgraded, a thousand Services come, or the API server fails.

Everywhere the shop's customers (integration/tools/shop.py) hold old connections and open new
ones; none may break, be refused, or wait for longer than a second.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from real_lab import kubectl
from scratch import until
from shop import (
    cluster_ips,
    containers,
    customers,
    pod_netns,
    rules,
    status,
    until_in_sync,
    until_ready,
)

from podwire_lab.kubernetes import plane
from podwire_lab.kubernetes.credentials import PORT
from podwire_lab.machine import daemons, namespaces, processes
from podwire_lab.overview import look
from podwire_lab.show import reachability
from podwire_lab.topology import Lab, LabNode

NOTHING_SENT = dict.fromkeys(("proxy", "policy", "guard", "masquerade"), 0)
MANY = 1000


def end_agent(lab: Lab, node: LabNode, number: signal.Signals) -> None:
    pid = daemons.agent_pid(lab, node)
    os.kill(pid, number)
    until("the agent has ended", lambda: not processes.alive(pid))


def answers(netns: str, addresses: list[str], port: int = 80) -> set[str]:
    """Outcomes of one new connection to each."""
    asked = reachability.probe(netns, [("tcp", address, port) for address in addresses], 3)
    return {outcome for outcome, _ in asked}


def expose(lab: Lab, name: str) -> str:
    """A new Service of the visitor's; its address."""
    kubectl(lab, "expose", "pod", "visitor", f"--name={name}", "--port=80", "--target-port=8080")
    return address_of(lab, name)


def address_of(lab: Lab, name: str) -> str:
    return kubectl(lab, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")


def served(lab: Lab, address: str) -> bool:
    """Whether it is answered from every node."""
    return all(answers(node.netns, [address]) == {"answered"} for node in lab.nodes)


def unserved(lab: Lab, address: str) -> bool:
    """Whether no node knows it any more."""
    return not any(address in str(key) for node in lab.nodes for key in rules(node))


# ------------------------------------------------------------------------------------ agents


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_agents_are_replaced_one_by_one_and_no_connection_notices(
    lab: Lab, number: signal.Signals
) -> None:
    until_in_sync(lab)
    with customers(lab, long=25) as flows:
        for node in lab.nodes:
            before = rules(node)
            end_agent(lab, node, number)
            for flow in flows:
                flow.goes_on()
            daemons.start_agent(lab, node)
            assert until_ready(lab, node)["transactions"] == NOTHING_SENT
            assert rules(node) == before
            for flow in flows:
                flow.goes_on()
    assert not any(flow.was_held_up for flow in flows)


# ----------------------------------------------------------------------- a thousand Services


def manifests(folder: Path) -> list[Path]:
    """Two manifests with MANY Services together, all of the one pod of their namespace."""
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "spec": spec}
    names = [{"name": f"many-{number}", "namespace": "many"} for number in range(MANY)]
    items = [{**service, "metadata": metadata} for metadata in names]
    files = [folder / "even.json", folder / "odd.json"]
    for start, file in enumerate(files):
        rows = items[start :: len(files)]
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": rows}))
    return files


def kubectl_each(lab: Lab, files: list[Path], *words: str) -> int:
    """Run kubectl on all files at once (one sends 50 requests a second); the lines it printed."""
    began = time.monotonic()
    with ThreadPoolExecutor(len(files)) as pool:
        done = list(pool.map(lambda file: kubectl(lab, *words, "-f", str(file)), files))
    print(f"kubectl {words[0]}: {time.monotonic() - began:.1f} s")
    return sum(len(each.splitlines()) for each in done)


def make_web(lab: Lab) -> None:
    """The namespace, and its one pod."""
    kubectl(lab, "create", "namespace", "many")
    account = ("get", "serviceaccount", "default", "-n", "many", "--ignore-not-found", "-o", "name")
    until("its account is there", lambda: bool(kubectl(lab, *account)))
    labels = ("--labels=app=web", "--port=8080", "--image=web")
    kubectl(lab, "run", "web", "-n", "many", *labels)
    kubectl(lab, "wait", "pod/web", "-n", "many", "--for=condition=Ready", "--timeout=120s")


def frontends(node: LabNode) -> set[str]:
    """Addresses of the Services that a node's kernel serves."""
    elements = [key for key in rules(node) if len(key) == 5 and key[3] == "frontends"]
    return {key[4].split(" . ")[0] for key in elements}


@pytest.mark.timeout(900)
def test_a_thousand_services_come_and_go_and_no_connection_notices(
    lab: Lab, tmp_path: Path
) -> None:
    files = manifests(tmp_path)
    make_web(lab)
    until_in_sync(lab)
    few = {node.name: frontends(node) for node in lab.nodes}
    before = {node.name: status(lab, node)["transactions"] for node in lab.nodes}
    with customers(lab, long=5, pace=0.1) as flows:
        assert kubectl_each(lab, files, "apply", "--server-side") == MANY
        applied = time.monotonic()
        template = "jsonpath={.items[*].spec.clusterIP}"
        addresses = kubectl(lab, "get", "services", "-n", "many", "-o", template).split()
        for node in lab.nodes:
            until("all answer", lambda: answers(node.netns, addresses) == {"answered"}, 120)  # noqa: B023 - called in this turn
        print(f"all answer on all nodes {time.monotonic() - applied:.1f} s after kubectl's end")
        for node in lab.nodes:
            assert frontends(node) == few[node.name] | set(addresses)
            sent = status(lab, node)["transactions"]
            print(f"{node.name}: {sent['proxy'] - before[node.name]['proxy']} transactions")
            assert sent["proxy"] - before[node.name]["proxy"] <= 2 * MANY + 100, (
                "at most one for each Service and one for its slice"
            )
            assert sent["policy"] == before[node.name]["policy"]
        kubectl_each(lab, files, "delete", "--wait=false")
        gone = time.monotonic()
        until("all are gone", lambda: all(frontends(n) == few[n.name] for n in lab.nodes), 120)
        print(f"the last is gone {time.monotonic() - gone:.1f} s after kubectl's end")
    assert not any(flow.was_held_up for flow in flows)
    kubectl(lab, "delete", "pod", "web", "-n", "many", "--grace-period=1")
    kubectl(lab, "delete", "namespace", "many", "--wait=false")


# ---------------------------------------------------------------------------- the API server


def kill_server(lab: Lab) -> None:
    pid = plane.running(lab)["kube-apiserver"]
    os.kill(pid, signal.SIGKILL)
    until("the API server is dead", lambda: not processes.alive(pid))
    # A leader is dead before its last thread is, which may still hold the socket.
    door = [("tcp", lab.gateways[0], PORT)]
    until("its port is free", lambda: reachability.probe(lab.fabric, door)[0][0] == "refused")


def start_server(lab: Lab) -> None:
    plane.wait_until_served(lab, plane.start(lab, ("kube-apiserver",)))


def test_an_api_server_that_dies_stops_nothing_and_is_heard_when_it_is_back(lab: Lab) -> None:
    until_in_sync(lab)
    running, first = containers(lab), lab.nodes[0]
    before = rules(first)
    with customers(lab) as flows:
        kill_server(lab)
        # An agent that starts meanwhile knows nothing yet: it must not take that for nothing.
        end_agent(lab, first, signal.SIGTERM)
        daemons.start_agent(lab, first)
        until("it waits", lambda: bool(status(lab, first).get("waiting")))
        for flow in flows:
            flow.goes_on()
        assert not status(lab, first)["ready"]
        assert rules(first) == before
        start_server(lab)
        address = expose(lab, "afterwards")
        until("the change is in force", lambda: served(lab, address))
        assert until_ready(lab, first)["failures"] == NOTHING_SENT
        kubectl(lab, "delete", "service", "afterwards")
        until("it is gone", lambda: unserved(lab, address))
    assert containers(lab) == running, "no pod was started again"
    assert {row.restarts for row in look(lab).pods} == {0}


def test_an_api_server_that_is_frozen_delays_changes_and_nothing_else(lab: Lab) -> None:
    until_in_sync(lab)
    running, pid = containers(lab), plane.running(lab)["kube-apiserver"]
    with customers(lab) as flows:
        os.kill(pid, signal.SIGSTOP)
        try:
            for flow in flows:
                flow.goes_on(200)
        finally:
            os.kill(pid, signal.SIGCONT)
        address = expose(lab, "thawed")
        until("the change is in force", lambda: served(lab, address))
        kubectl(lab, "delete", "service", "thawed")
        until("it is gone", lambda: unserved(lab, address))
    assert containers(lab) == running


def ask_etcd(lab: Lab, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
    """What etcd answers, over its JSON gateway."""

    def ask() -> dict[str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", 2379, timeout=10)
        connection.request("POST", path, json.dumps(body))
        found: dict[str, dict[str, str]] = json.loads(connection.getresponse().read())
        connection.close()
        return found

    return namespaces.inside(lab.fabric, ask)


def compact(lab: Lab) -> None:
    """Forget etcd's history, as the API server does every five minutes."""
    revision = ask_etcd(lab, "/v3/kv/range", {"key": "AA=="})["header"]["revision"]
    done = ask_etcd(lab, "/v3/kv/compaction", {"revision": revision, "physical": True})
    assert "header" in done, done


def asleep(lab: Lab, meanwhile: Callable[[], None]) -> None:
    """Do something while no agent hears of it."""
    pids = [daemons.agent_pid(lab, node) for node in lab.nodes]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        meanwhile()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_what_happened_in_a_compacted_history_is_caught_up_with(lab: Lab) -> None:
    goes, came = expose(lab, "goes"), ""
    until("it is in force", lambda: served(lab, goes))
    before = {node.name: status(lab, node)["transactions"] for node in lab.nodes}

    def unheard() -> None:
        nonlocal came
        kubectl(lab, "delete", "service", "goes")
        came = expose(lab, "came")
        compact(lab)
        kill_server(lab)  # with what it remembers of the history
        start_server(lab)

    with customers(lab):
        asleep(lab, unheard)
        until("what came is in force", lambda: served(lab, came))
        until("what went is gone", lambda: unserved(lab, goes))
    for node in lab.nodes:
        sent = status(lab, node)["transactions"]
        assert sent["policy"] == before[node.name]["policy"], "what did not change is not sent"
        assert sent["proxy"] - before[node.name]["proxy"] < 10
    kubectl(lab, "delete", "service", "came")
    until("it is gone", lambda: unserved(lab, came))


def test_at_the_end_a_fresh_agent_would_change_nothing(lab: Lab) -> None:
    until_in_sync(lab)
    for node in lab.nodes:
        end_agent(lab, node, signal.SIGKILL)
        daemons.start_agent(lab, node)
        assert until_ready(lab, node)["transactions"] == NOTHING_SENT
    frontend = pod_netns(lab, "shop", "frontend-")
    assert answers(frontend, list(cluster_ips(lab, "shop", "api"))) == {"answered"}
