"""Services of a real control plane, as Kubernetes' own end-to-end tests look at them.

Names are those of test/e2e/network: service.go, networking.go, conntrack.go, loadbalancer.go and
traffic_distribution.go. One lab serves all; integration/tools/service_stage.py draws it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import real_lab
import service_stage
from scratch import until
from service_stage import MANY, Stage, node_port, tcp, udp
from shop import until_ready
from traffic import traffic

from podwire_core.feed.api_server import ApiError
from podwire_lab.machine import cluster
from podwire_lab.overview import look
from podwire_lab.topology import Lab, LabNode

REFUSED, SILENT = {"refused"}, {"silent"}
ONE, TWO = "a", "b"  # the pods of the app web, on node1 and node2
BOTH = {ONE, TWO}
#: Of RFC 5737, for tests alone: no node has it.
EXTERNAL = "203.0.113.250"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes and nothing but the cluster's DNS."""
    with real_lab.raised(manifests=()) as found:
        yield found


@pytest.fixture(scope="module")
def standing(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with service_stage.staged(lab, tmp_path_factory.mktemp("ready")) as made:
        yield made


@pytest.fixture
def stage(standing: Stage) -> Iterator[Stage]:
    yield standing
    standing.clear()


@pytest.fixture
def pod1(stage: Stage) -> str:
    """Where a pod of node1 asks from."""
    return stage.inside("client1")


@pytest.fixture
def pod2(stage: Stage) -> str:
    return stage.inside("client2")


@pytest.fixture
def node1(stage: Stage) -> LabNode:
    return stage.lab.nodes[0]


@pytest.fixture
def node2(stage: Stage) -> LabNode:
    return stage.lab.nodes[1]


@pytest.fixture
def world(stage: Stage) -> str:
    return stage.lab.fabric


# ----------------------------------------------------------------------------------- basics


def test_should_serve_multiport_endpoints_from_pods(
    stage: Stage, pod1: str, node2: LabNode
) -> None:
    ports = [tcp(80, 8080, name="http"), tcp(81, 9090, name="metrics")]
    address = stage.expose("multiport", "web", ports=ports)["clusterIP"]
    for source in (pod1, node2.netns):
        for port in (80, 81):
            stage.until_met(source, (address, port, "tcp"), BOTH)
    assert stage.met(pod1, address, 82) == REFUSED


def test_should_be_updated_after_adding_or_deleting_ports(stage: Stage, pod1: str) -> None:
    address = stage.expose("ports", "web", ports=[tcp(80, name="one")])["clusterIP"]
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    stage.change("ports", ports=[tcp(80, name="one"), tcp(81, 9090, name="two")])
    stage.until_met(pod1, (address, 81, "tcp"), BOTH)
    stage.change("ports", ports=[tcp(81, 9090, name="two")])
    stage.until_met(pod1, (address, 80, "tcp"), REFUSED)
    assert stage.met(pod1, address, 81) == BOTH


def test_should_be_able_to_up_and_down_services(stage: Stage, pod1: str) -> None:
    first, second = (stage.expose(name, "web")["clusterIP"] for name in ("first", "second"))
    stage.until_met(pod1, (first, 80, "tcp"), BOTH)
    stage.withdraw("first")
    stage.until_met(pod1, (first, 80, "tcp"), SILENT)  # an address of no Service, in their range
    assert stage.met(pod1, second, 80) == BOTH
    third = stage.expose("third", "web")["clusterIP"]
    stage.until_met(pod1, (third, 80, "tcp"), BOTH)


def test_should_work_after_the_service_has_been_recreated(stage: Stage, pod1: str) -> None:
    address = stage.expose("again", "web")["clusterIP"]
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    stage.withdraw("again")
    stage.expose("again", "web", clusterIP=address)
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)


def test_should_serve_endpoints_on_same_port_and_different_protocols(
    stage: Stage, pod1: str
) -> None:
    ports = [tcp(80, name="t"), udp(80, name="u")]
    address = stage.expose("protocols", "web", ports=ports)["clusterIP"]
    for protocol in ("tcp", "udp"):
        stage.until_met(pod1, (address, 80, protocol), BOTH)
    stage.change("protocols", ports=[tcp(80, name="t")])
    stage.until_met(pod1, (address, 80, "udp"), REFUSED)
    assert stage.met(pod1, address, 80) == BOTH


def test_should_preserve_source_pod_ip_for_traffic_thru_service_cluster_ip(
    stage: Stage, pod1: str
) -> None:
    address = stage.expose("sources", "web")["clusterIP"]
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    own = stage.send("GET", f"{service_stage.PODS}/client1")["status"]["podIP"]
    assert stage.seen(pod1, address, 80) == {own}


def test_should_allow_pods_to_hairpin_back_to_themselves_through_services(stage: Stage) -> None:
    address = stage.expose("mirror", "client")["clusterIP"]
    stage.until_met(stage.inside("client1"), (address, 80, "tcp"), {"client1", "client2"})


def test_should_be_rejected_when_no_endpoints_exist(
    stage: Stage, pod1: str, node1: LabNode, world: str
) -> None:
    spec = stage.expose("nobody", type="NodePort", ports=[tcp(80, name="t"), udp(80, name="u")])
    for index, protocol in enumerate(("tcp", "udp")):
        stage.until_met(pod1, (spec["clusterIP"], 80, protocol), REFUSED)
        stage.until_met(world, (node1.ips[0], node_port(spec, index), protocol), REFUSED)
    # A host's own datagram is refused in sendto(), as EPERM.
    stage.until_met(node1.netns, (spec["clusterIP"], 80, "tcp"), REFUSED)


def test_should_be_able_to_handle_large_requests(stage: Stage, pod1: str) -> None:
    address = stage.expose("large", "web", ports=[udp(90, name="u")])["clusterIP"]
    stage.until_met(pod1, (address, 90, "udp"), BOTH)
    client = stage.udp(pod1)
    client.socket.settimeout(30)
    client.socket.sendto(b"x" * 2000, (address, 90))  # more than a packet
    assert client.socket.recv(4096).endswith(b"x" * 2000 + b"\n")


# ------------------------------------------------------------------------- types and addresses


def test_should_be_able_to_change_the_type_from_externalname_to_nodeport_and_back(
    stage: Stage, pod1: str, world: str, node2: LabNode
) -> None:
    stage.expose("typed", "web", type="ExternalName", externalName="example.com", ports=None)
    spec = stage.change("typed", type="ClusterIP", externalName=None, ports=[tcp()])
    address = spec["clusterIP"]
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    port = node_port(stage.change("typed", type="NodePort"))
    stage.until_met(world, (node2.ips[0], port, "tcp"), BOTH)
    none = {"clusterIP": None, "clusterIPs": None}
    stage.change("typed", type="ExternalName", externalName="example.com", **none)
    stage.until_met(pod1, (address, 80, "tcp"), SILENT)
    stage.until_met(world, (node2.ips[0], port, "tcp"), REFUSED)
    spec = stage.change("typed", type="NodePort", externalName=None)
    stage.until_met(world, (node2.ips[0], node_port(spec), "tcp"), BOTH)


def test_should_be_able_to_update_service_type_to_nodeport_on_same_port_for_tcp_and_udp(
    stage: Stage, world: str, node1: LabNode
) -> None:
    stage.expose("twins", "web")
    one = 30777
    ports = [tcp(80, name="t", nodePort=one), udp(80, name="u", nodePort=one)]
    stage.change("twins", type="NodePort", ports=ports)
    for protocol in ("tcp", "udp"):
        stage.until_met(world, (node1.ips[0], one, protocol), BOTH)


def test_should_release_nodeports_on_delete(stage: Stage, world: str, node1: LabNode) -> None:
    port = node_port(stage.expose("released", "web", type="NodePort"))
    stage.until_met(world, (node1.ips[0], port, "tcp"), BOTH)
    stage.withdraw("released")
    stage.until_met(world, (node1.ips[0], port, "tcp"), REFUSED)


def test_should_be_possible_to_connect_to_a_service_via_an_external_ip_of_no_node(
    stage: Stage, pod1: str, node1: LabNode, world: str
) -> None:
    stage.expose("external", "web", externalIPs=[EXTERNAL])
    stage.routed(EXTERNAL)
    for source in (pod1, node1.netns, world):
        stage.until_met(source, (EXTERNAL, 80, "tcp"), BOTH)


def test_should_only_allow_access_from_service_loadbalancer_source_ranges(
    stage: Stage, pod1: str, pod2: str, world: str
) -> None:
    own = stage.send("GET", f"{service_stage.PODS}/client1")["status"]["podIP"]
    stage.expose("ranged", "web", type="LoadBalancer", loadBalancerSourceRanges=[f"{own}/32"])
    balance(stage, "ranged", "203.0.113.10")
    stage.until_met(pod1, ("203.0.113.10", 80, "tcp"), BOTH)
    stage.until_met(pod2, ("203.0.113.10", 80, "tcp"), SILENT)
    stage.change("ranged", loadBalancerSourceRanges=None)
    stage.until_met(pod2, ("203.0.113.10", 80, "tcp"), BOTH)
    stage.until_met(world, ("203.0.113.10", 80, "tcp"), BOTH)


def test_should_be_able_to_create_loadbalancer_service_without_nodeport_and_change_it(
    stage: Stage, world: str, node1: LabNode
) -> None:
    kind = {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}
    assert "nodePort" not in stage.expose("portless", "web", **kind)["ports"][0]
    balance(stage, "portless", "203.0.113.11")
    stage.until_met(world, ("203.0.113.11", 80, "tcp"), BOTH)
    spec = stage.change("portless", allocateLoadBalancerNodePorts=True)
    stage.until_met(world, (node1.ips[0], node_port(spec), "tcp"), BOTH)


def test_a_range_that_an_administrator_adds_gives_addresses_that_are_served(
    stage: Stage, pod1: str
) -> None:
    ranges = "/apis/networking.k8s.io/v1/servicecidrs"
    name = {"name": "more"}
    stage.send("POST", ranges, {"metadata": name, "spec": {"cidrs": ["10.98.7.0/24"]}})

    def made() -> bool:
        try:
            return bool(stage.expose("elsewhere", "web", clusterIP="10.98.7.5"))
        except ApiError:  # the allocator has not heard of the range yet
            return False

    until("the range is given out from", made)
    stage.until_met(pod1, ("10.98.7.5", 80, "tcp"), BOTH)
    stage.until_met(pod1, ("10.98.7.6", 80, "tcp"), SILENT)
    stage.withdraw("elsewhere")
    stage.send("DELETE", f"{ranges}/more")


def test_kubectl_makes_services_of_each_type_and_the_examples(stage: Stage, pod1: str) -> None:
    made = [("clusterip", "--tcp=80:8080"), ("nodeport", "--tcp=80:8080")]
    made += [("loadbalancer", "--tcp=80:8080"), ("externalname", "--external-name=example.com")]
    for kind, how in made:
        real_lab.kubectl(stage.lab, "create", "service", kind, f"by-{kind}", how)
        stage.services.append(f"by-{kind}")
        if kind != "externalname":
            spec = stage.change(f"by-{kind}", selector={"app": "web"})
            stage.until_met(pod1, (spec["clusterIP"], 80, "tcp"), BOTH)
    done = real_lab.podwire(stage.lab, "apply", "--wait", str(real_lab.ROOT / "examples/services"))
    assert done.returncode == 0, done.stderr
    where = ("get", "service", "plain", "-n", "square", "-o", "jsonpath={.spec.clusterIP}")
    address = real_lab.kubectl(stage.lab, *where)
    until("two pods answer", lambda: len(stage.met(pod1, address, 80)) == len(BOTH))
    assert look(stage.lab).problems == ()
    real_lab.kubectl(stage.lab, "delete", "namespace", "square", "--wait=false")


def balance(stage: Stage, name: str, address: str) -> None:
    """What a provider's controller does: an address for a Service, and its way to node1."""
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    stage.merge(f"{service_stage.SERVICES}/{name}/status", status)
    stage.routed(address)


# ------------------------------------------------------------------------ labels and slices


@pytest.mark.parametrize("label", ["service-proxy-name", "headless"])
def test_should_implement_the_label(stage: Stage, pod1: str, label: str) -> None:
    address = stage.expose(f"labelled-{label}", "web")["clusterIP"]
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    path = f"{service_stage.SERVICES}/labelled-{label}"
    name = f"service.kubernetes.io/{label}"
    stage.merge(path, {"metadata": {"labels": {name: "other"}}})
    stage.until_met(pod1, (address, 80, "tcp"), SILENT)
    stage.merge(path, {"metadata": {"labels": {name: None}}})
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)


def test_endpointslice_mirroring_should_mirror_a_custom_endpoints_resource(
    stage: Stage, pod1: str
) -> None:
    address = stage.expose("custom", selector=None)["clusterIP"]
    ips = [stage.send("GET", f"{service_stage.PODS}/{name}")["status"]["podIP"] for name in BOTH]
    subset = {"addresses": [{"ip": ip} for ip in ips], "ports": [{"port": 8080}]}
    endpoints = service_stage.SERVICES.replace("services", "endpoints")
    stage.send("POST", endpoints, {"metadata": {"name": "custom"}, "subsets": [subset]})
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    stage.send("DELETE", f"{endpoints}/custom")
    stage.until_met(pod1, (address, 80, "tcp"), REFUSED)


# ------------------------------------------------------------------------- session affinity

AFFINE = {"sessionAffinity": "ClientIP"}


def test_should_be_able_to_switch_session_affinity_for_service_with_type_clusterip(
    stage: Stage, pod1: str
) -> None:
    address = stage.expose("sticky", "web", **AFFINE)["clusterIP"]
    until("one answers", lambda: loyal(stage, pod1, address))
    stage.change("sticky", sessionAffinity="None", sessionAffinityConfig=None)
    stage.until_met(pod1, (address, 80, "tcp"), BOTH)
    stage.change("sticky", **AFFINE)
    until("one answers again", lambda: loyal(stage, pod1, address))


def loyal(stage: Stage, source: str, address: str, port: int = 80) -> bool:
    """Whether all connections of a client meet one pod."""
    met = stage.met(source, address, port)
    return len(met) == 1 and met <= BOTH


def test_should_have_session_affinity_work_for_nodeport_service(
    stage: Stage, world: str, node1: LabNode
) -> None:
    port = node_port(stage.expose("sticky-port", "web", type="NodePort", **AFFINE))
    until("one answers", lambda: loyal(stage, world, node1.ips[0], port))


def test_should_have_session_affinity_timeout_work_for_service_with_type_clusterip(
    stage: Stage, pod1: str
) -> None:
    config = {"clientIP": {"timeoutSeconds": 1}}
    spec = stage.expose("forgetful", "web", **AFFINE, sessionAffinityConfig=config)
    met: set[str] = set()

    def another() -> bool:
        met.update(stage.met(pod1, spec["clusterIP"], 80, times=1) & BOTH)
        time.sleep(1.2)  # what is measured is time
        return met == BOTH

    until("a client is forgotten", another, 200)


def test_a_restarted_agent_remembers_who_talked_to_whom_and_breaks_no_connection(
    stage: Stage, pod1: str, node1: LabNode
) -> None:
    address = stage.expose("remembered", "web", **AFFINE)["clusterIP"]
    until("one answers", lambda: loyal(stage, pod1, address))
    before = stage.met(pod1, address, 80)
    with traffic(pod1, [(address, 80)], long=5) as flow:
        cluster.restart_agent(stage.lab, node1.name)
        until_ready(stage.lab, node1)
        flow.goes_on()
    assert stage.met(pod1, address, 80) == before


# ------------------------------------------------------------------- readiness and leaving


@pytest.mark.parametrize("publish", [True, False])
def test_should_be_able_to_connect_to_terminating_and_unready_endpoints_as_published(
    stage: Stage, pod1: str, node2: LabNode, world: str, *, publish: bool
) -> None:
    app = f"shy-{publish}".lower()
    spec = stage.expose(app, type="NodePort", publishNotReadyAddresses=publish)
    stage.start(f"{app}-0", "node1", app, ready=False)
    wanted = {f"{app}-0"} if publish else REFUSED
    places = [(pod1, spec["clusterIP"], 80), (world, node2.ips[0], node_port(spec))]
    for source, address, port in places:
        stage.until_met(source, (address, port, "tcp"), wanted)
    stage.leave(f"{app}-0", grace=60)

    def terminating() -> bool:  # a slice comes to have its pod, also one that is not ready
        conditions = stage.endpoints(app).get(f"{app}-0", {}).get("conditions", {})
        return bool(conditions.get("terminating"))

    until("it is terminating", terminating)
    for source, address, port in places:
        stage.until_met(source, (address, port, "tcp"), wanted)


def test_should_fallback_to_terminating_endpoints_when_there_are_no_ready_endpoints(
    stage: Stage, pod1: str, pod2: str, node1: LabNode, node2: LabNode, world: str
) -> None:
    """internal- and externalTrafficPolicy, Cluster and Local: four of upstream's tests."""
    local = {"internalTrafficPolicy": "Local"}
    outside_local = {"type": "NodePort", "externalTrafficPolicy": "Local"}
    everywhere = stage.expose("leaving", type="NodePort")
    here = stage.expose("leaving-internal", "leaving", **local)
    ports = stage.expose("leaving-external", "leaving", **outside_local)
    stage.start("leaving-0", "node1", "leaving")
    stage.until_met(pod1, (everywhere["clusterIP"], 80, "tcp"), {"leaving-0"})
    stage.leave("leaving-0", grace=60)
    until("it is terminating", lambda: not ready(stage, "leaving", "leaving-0"))
    it = {"leaving-0"}
    stage.until_met(pod2, (everywhere["clusterIP"], 80, "tcp"), it)
    stage.until_met(world, (node2.ips[0], node_port(everywhere), "tcp"), it)
    stage.until_met(pod1, (here["clusterIP"], 80, "tcp"), it)
    stage.until_met(pod2, (here["clusterIP"], 80, "tcp"), SILENT)
    stage.until_met(world, (node1.ips[0], node_port(ports), "tcp"), it)
    stage.until_met(world, (node2.ips[0], node_port(ports), "tcp"), SILENT)


def ready(stage: Stage, service: str, pod: str) -> bool:
    return bool(stage.endpoints(service)[pod]["conditions"]["ready"])


# -------------------------------------------------------------------------- traffic policies


def test_should_respect_internaltrafficpolicy_local_pod_and_node_to_pod(
    stage: Stage, pod1: str, pod2: str, node1: LabNode, node2: LabNode
) -> None:
    stage.start("alone-0", "node1", "alone")
    address = stage.expose("alone", internalTrafficPolicy="Local")["clusterIP"]
    for source in (pod1, node1.netns):
        stage.until_met(source, (address, 80, "tcp"), {"alone-0"})
    for source in (pod2, node2.netns):
        stage.until_met(source, (address, 80, "tcp"), SILENT)


def test_should_handle_updates_to_externaltrafficpolicy_field(
    stage: Stage, world: str, pod2: str, node1: LabNode, node2: LabNode
) -> None:
    stage.start("one-0", "node1", "one")
    spec = stage.expose("one", type="NodePort", externalTrafficPolicy="Local")
    port = node_port(spec)
    stage.until_met(world, (node1.ips[0], port, "tcp"), {"one-0"})
    assert stage.seen(world, node1.ips[0], port) == {stage.lab.gateways[0]}
    stage.until_met(world, (node2.ips[0], port, "tcp"), SILENT)
    stage.until_met(pod2, (node1.ips[0], port, "tcp"), {"one-0"})  # our pods go the short way
    stage.change("one", externalTrafficPolicy="Cluster")
    stage.until_met(world, (node2.ips[0], port, "tcp"), {"one-0"})
    assert stage.lab.gateways[0] not in stage.seen(world, node2.ips[0], port)


def test_should_fail_health_check_node_port_if_there_are_only_terminating_endpoints(
    stage: Stage, world: str, node1: LabNode, node2: LabNode
) -> None:
    stage.start("checked-0", "node1", "checked")
    spec = stage.expose("checked", type="LoadBalancer", externalTrafficPolicy="Local")
    port = spec["healthCheckNodePort"]

    def told(node: LabNode) -> tuple[int, int]:
        status, body = stage.get(world, node.ips[0], port)
        return status, body["localEndpoints"] if status else -1

    until("node1 has one", lambda: told(node1) == (200, 1))
    until("node2 has none", lambda: told(node2) == (503, 0))
    _, body = stage.get(world, node1.ips[0], port)
    assert body["service"] == {"namespace": "default", "name": "checked"}
    stage.leave("checked-0", grace=60)
    until("node1 says so", lambda: told(node1) == (503, 0))
    assert stage.met(world, node1.ips[0], node_port(spec)) == {"checked-0"}
    stage.change("checked", externalTrafficPolicy="Cluster", healthCheckNodePort=0)
    until("nobody listens", lambda: stage.get(world, node1.ips[0], port)[0] == 0)


# --------------------------------------------------------------------------------- conntrack


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "InternalTrafficPolicyLocal"])
def test_should_be_able_to_preserve_udp_traffic_when_server_pod_cycles(
    stage: Stage, pod1: str, node2: LabNode, kind: str
) -> None:
    app = f"cycled-{kind.lower()}"
    policy = "Local" if kind == "InternalTrafficPolicyLocal" else "Cluster"
    how = {"type": "NodePort"} if kind == "NodePort" else {"internalTrafficPolicy": policy}
    spec = stage.expose(app, ports=[udp()], **how)
    where = (spec["clusterIP"], 80)
    if kind == "NodePort":
        where = (node2.ips[0], node_port(spec))
    client = stage.udp(pod1)  # one source port: one conntrack entry
    client.ask(*where)  # before there is anyone
    stage.start(f"{app}-0", "node1", app)
    until("the first answers", lambda: client.ask(*where) == f"{app}-0")
    stage.start(f"{app}-1", "node1", app)
    stage.leave(f"{app}-0")
    until("the second answers", lambda: client.ask(*where) == f"{app}-1")


def test_should_be_able_to_cleanup_conntrack_entries_when_udp_service_target_port_changes(
    stage: Stage, world: str, node1: LabNode
) -> None:
    stage.start("moved-0", "node1", "moved")
    spec = stage.expose("moved", type="NodePort", ports=[udp(80, 8080)])
    where = (node1.ips[0], node_port(spec))
    client = stage.udp(world)
    until("it answers", lambda: client.ask(*where) == "moved-0")
    stage.change("moved", ports=[udp(80, 7070, nodePort=node_port(spec))])  # nobody is there
    until("the flow is moved", lambda: client.ask(*where) != "moved-0")
    stage.change("moved", ports=[udp(80, 9090, nodePort=node_port(spec))])
    until("the flow is moved back", lambda: client.ask(*where) == "moved-0")


# ---------------------------------------------------------------------- traffic distribution


@pytest.fixture
def zones(stage: Stage) -> Iterator[None]:
    """Each node in a zone of its own."""
    label = "topology.kubernetes.io/zone"
    for node in stage.lab.nodes:
        path = f"/api/v1/nodes/{node.name}"
        stage.merge(path, {"metadata": {"labels": {label: f"zone-{node.name}"}}})
    yield
    for node in stage.lab.nodes:
        stage.merge(f"/api/v1/nodes/{node.name}", {"metadata": {"labels": {label: None}}})


@pytest.mark.usefixtures("zones")
@pytest.mark.parametrize("wish", ["PreferSameZone", "PreferSameNode"])
def test_should_route_traffic_to_an_endpoint_that_is_close(
    stage: Stage, pod1: str, pod2: str, wish: str
) -> None:
    app = f"close-{wish.lower()}"
    stage.start(f"{app}-1", "node1", app)
    stage.start(f"{app}-2", "node2", app)
    address = stage.expose(app, trafficDistribution=wish)["clusterIP"]
    for number, source in enumerate((pod1, pod2), start=1):
        stage.until_met(source, (address, 80, "tcp"), {f"{app}-{number}"})
        assert stage.met(source, address, 80, times=MANY) == {f"{app}-{number}"}
    stage.leave(f"{app}-1")
    stage.until_met(pod1, (address, 80, "tcp"), {f"{app}-2"})
    stage.change(app, trafficDistribution=None)
    stage.start(f"{app}-3", "node1", app)
    for source in (pod1, pod2):
        stage.until_met(source, (address, 80, "tcp"), {f"{app}-2", f"{app}-3"})
