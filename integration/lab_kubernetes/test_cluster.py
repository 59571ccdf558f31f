"""What `podwire lab up --kubernetes` promises: the controllers' work is Kubernetes' own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

from real_lab import SHOP, kubectl, podwire
from scratch import until

from podwire_lab.folders import Folders
from podwire_lab.kubernetes import plane
from podwire_lab.machine import cluster, daemons, namespaces, processes
from podwire_lab.overview import look
from podwire_lab.show import reachability
from podwire_lab.topology import Lab
from podwire_lab.visit import run


def items(lab: Lab, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl(lab, "get", *words, "-o", "json"))["items"]
    return found


def ready_pods(lab: Lab, app: str) -> list[str]:
    rows = [row for row in look(lab).pods if row.name.startswith(f"{app}-")]
    return [row.name for row in rows if row.ready and row.phase == "Running"]


def objects(lab: Lab, kind: str) -> set[str]:
    return {file.name for file in Folders.of(lab.name).objects.glob(f"{kind}.*.json")}


def test_nodes_are_registered_with_podcidrs_of_the_controller_manager(lab: Lab) -> None:
    nodes = items(lab, "nodes")
    assert [node["metadata"]["name"] for node in nodes] == ["node1", "node2"]
    shown = {row.name: list(row.pod_cidrs) for row in look(lab).nodes}
    for node in nodes:
        conditions = {row["type"]: row["status"] for row in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert node["spec"]["podCIDRs"] == shown[node["metadata"]["name"]]
    assert "node1" in podwire(lab, "draw").stdout


def test_everything_is_ready_and_spread_over_the_nodes(lab: Lab) -> None:
    overview = look(lab)
    assert overview.missing == ()
    assert overview.problems == ()
    assert {row.name for row in overview.control_plane if row.ready} == set(plane.PROGRAMS)
    assert {row.node for row in overview.pods if row.namespace == "shop"} == {"node1", "node2"}


def test_kernel_and_oracle_agree_on_who_reaches_whom(lab: Lab) -> None:
    done = podwire(lab, "reach", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["differences"] == []
    assert summary["dialled"] > 100
    assert 0 < summary["denied"] < summary["dialled"]


def test_a_services_name_address_and_node_port_answer(lab: Lab) -> None:
    curl = ["curl", "-s", "--noproxy", "*", "--max-time", "5"]
    inside = run(lab, "deploy/frontend", [*curl, "http://api"], namespace="shop")
    assert inside.stdout.startswith("pod=shop/api-"), inside
    for address in ("192.168.100.11", "192.168.100.12"):
        ((outcome, line),) = reachability.probe(lab.fabric, [("tcp", address, 30080)], 5)
        assert (outcome, line[:18]) == ("answered", "pod=shop/frontend-")


def test_the_api_server_is_a_service_like_any_other(lab: Lab) -> None:
    netns = namespaces.pod_netns(lab.name, "default", "visitor")
    ((outcome, _),) = reachability.probe(netns, [("tcp", "10.96.0.1", 443)], 5)
    assert outcome != "refused"
    assert outcome != "silent"


def test_scaling_with_kubectl_makes_and_takes_pods(lab: Lab) -> None:
    kubectl(lab, "-n", "shop", "scale", "deployment/api", "--replicas", "5")
    until("five are ready", lambda: len(ready_pods(lab, "api")) == 5)
    kubectl(lab, "-n", "shop", "scale", "deployment/api", "--replicas", "3")
    until(
        "three are left",
        lambda: len([row for row in look(lab).pods if row.name.startswith("api-")]) == 3,
        60,
    )


def test_a_rolling_update_replaces_all_pods_and_is_waited_for(lab: Lab) -> None:
    before = set(ready_pods(lab, "frontend"))
    document = (SHOP / "frontend.yaml").read_text().replace("frontend:1.0", "frontend:2.0")
    done = podwire(lab, "apply", "--wait", "-", stdin=document)
    assert done.returncode == 0, done.stderr
    after = set(ready_pods(lab, "frontend"))
    assert len(after) == 2
    assert not before & after
    (deployment,) = items(
        lab, "deployments", "-n", "shop", "--field-selector=metadata.name=frontend"
    )
    assert deployment["status"]["updatedReplicas"] == 2


def test_kubectl_reads_the_logs_of_a_pod(lab: Lab) -> None:
    chatter = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "chatter"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {"name": "c", "image": "busybox", "command": ["sh", "-c", "echo good morning"]}
            ],
        },
    }
    done = podwire(lab, "apply", "--wait", "-", stdin=json.dumps(chatter))
    assert done.returncode == 0, done.stderr
    assert kubectl(lab, "logs", "chatter") == "good morning\n"
    assert podwire(lab, "delete", "pod/chatter").stdout == "deleted Pod default/chatter\n"
    until("it is gone", lambda: "Pod.default.chatter.json" not in objects(lab, "Pod"))


def test_a_namespace_goes_with_all_that_is_in_it(lab: Lab) -> None:
    documents = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "passing"}},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "namespace": "passing"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}]},
        },
    ]
    # The pod stands first: namespaces go before what lives in them, wherever they are written.
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents[::-1]})
    done = podwire(lab, "apply", "--wait", "-", stdin=text)
    assert done.returncode == 0, done.stderr
    assert namespaces.pod_netns(lab.name, "passing", "web") in namespaces.named(lab.prefix)
    assert podwire(lab, "delete", "ns/passing").returncode == 0
    until("it is gone", lambda: "Namespace..passing.json" not in objects(lab, "Namespace"), 60)
    assert not [name for name in namespaces.named(lab.prefix) if ".passing." in name]


def test_what_the_api_server_refuses_is_named_with_file_and_field(lab: Lab, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 99999}]}}\n"
        "---\n{apiVersion: example.com/v1, kind: Nope, metadata: {name: x}}\n"
        "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: good}, data: {a: b}}\n"
    )
    done = podwire(lab, "apply", str(file))
    assert done.returncode == 1
    assert done.stdout == "applied ConfigMap default/good\n"
    assert f"{file}: Service bad: spec.ports[0].port: Invalid value: 99999" in done.stderr
    assert f"{file}: Nope x: kind: the API server knows no Nope of example.com/v1" in done.stderr
    assert podwire(lab, "delete", str(file)).returncode == 0


def test_kubectls_exit_code_and_input_are_passed_on(lab: Lab) -> None:
    assert podwire(lab, "kubectl", "get", "nosuchkind").returncode == 1
    ours = kubectl(
        lab, "apply", "-f", "-", stdin="{apiVersion: v1, kind: ConfigMap, metadata: {name: m}}"
    )
    assert ours == "configmap/m created\n"


def test_what_a_user_applies_again_with_kubectl_is_no_conflict(lab: Lab) -> None:
    kubectl(lab, "apply", "--server-side", "-f", str(SHOP / "policies.yaml"))


def test_nobody_is_served_without_credentials(lab: Lab) -> None:
    def ask() -> int:
        context = ssl.create_default_context(cafile=str(Folders.of(lab.name).kubernetes / "ca.crt"))
        connection = http.client.HTTPSConnection(*lab.gateways[:1], 6443, context=context)
        with closing(connection):
            connection.request("GET", "/readyz")
            return connection.getresponse().status

    assert namespaces.inside(lab.fabric, ask) == http.HTTPStatus.UNAUTHORIZED


def test_a_mirror_that_was_away_catches_up(lab: Lab) -> None:
    pid = plane.running(lab)[plane.MIRROR]
    kubectl(lab, "create", "service", "clusterip", "before", "--tcp=80")
    until("it is there", lambda: "Service.default.before.json" in objects(lab, "Service"))
    os.kill(pid, signal.SIGKILL)
    until("it is gone", lambda: not processes.alive(pid))
    assert any("mirror does not run" in each for each in look(lab).problems)
    kubectl(lab, "delete", "service", "before")
    kubectl(lab, "create", "service", "clusterip", "after", "--tcp=80")
    daemons.start_mirror(lab)
    until("after is there", lambda: "Service.default.after.json" in objects(lab, "Service"))
    until("before is not", lambda: "Service.default.before.json" not in objects(lab, "Service"))
    kubectl(lab, "delete", "service", "after")


def test_an_agent_that_starts_again_serves_from_the_api(lab: Lab) -> None:
    cluster.restart_agent(lab, "node1")
    until("it is ready", lambda: all(row.agent.ready for row in look(lab).nodes))
    done = podwire(lab, "reach", "--json")
    assert json.loads(done.stdout)["differences"] == []


def test_a_program_that_dies_is_named_with_its_last_words(lab: Lab) -> None:
    pid = plane.running(lab)["kube-scheduler"]
    os.kill(pid, signal.SIGTERM)
    until("it is gone", lambda: not processes.alive(pid))
    (problem,) = (each for each in look(lab).problems if each.startswith("kube-scheduler"))
    assert "does not run; it said last:" in problem
    plane.start(lab, ("kube-scheduler",))
    until("all is well again", lambda: look(lab).problems == ())
