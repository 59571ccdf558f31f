"""Services: who gets which address and which port, and where their endpoints are."""

from __future__ import annotations

import ipaddress

import pytest

from podwire_core.objects.cluster import ZONE_LABEL
from podwire_lab.control.manifests import Ignored, read_manifest
from podwire_lab.topology import BALANCERS_V4, BALANCERS_V6, NODE_PORTS, SERVICES_V4, SERVICES_V6

BALANCERS = (BALANCERS_V4, BALANCERS_V6)


def service(name: str, spec: str = "", ports: str = "{port: 80}") -> str:
    return f"""
        apiVersion: v1
        kind: Service
        metadata: {{name: {name}, namespace: shop}}
        spec: {{ports: [{ports}], {spec}}}
    """


def addresses(cluster, name: str) -> tuple[str, ...]:
    return cluster.service(f"shop/{name}").cluster_ips


# ------------------------------------------------------------------------------ addresses


def test_dns_is_where_every_resolver_looks_for_it(cluster):
    assert cluster.tick().service("kube-system/kube-dns").cluster_ips == ("10.96.0.10",)


def test_addresses_are_the_lowest_free_ones_above_dns(cluster):
    cluster.apply(service("a") + "---" + service("b"))
    assert (addresses(cluster, "a"), addresses(cluster, "b")) == (("10.96.0.11",), ("10.96.0.12",))


def test_services_keep_their_addresses_over_a_restart_and_when_others_come(cluster):
    cluster.apply(service("m") + "---" + service("n", "type: NodePort"))
    before = cluster.service("shop/m").spec, cluster.service("shop/n").spec
    cluster.apply(service("a") + "---" + service("b", "type: NodePort"))
    assert (cluster.service("shop/m").spec, cluster.service("shop/n").spec) == before


def test_an_address_is_free_again_when_its_service_goes(cluster):
    cluster.apply(service("a") + "---" + service("b")).delete("Service", "shop/a")
    assert addresses(cluster.apply(service("c")), "c") == ("10.96.0.11",)


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ("", ["IPv4"]),
        ("ipFamilies: [IPv6]", ["IPv6"]),
        ("ipFamilyPolicy: SingleStack", ["IPv4"]),
        ("ipFamilyPolicy: PreferDualStack", ["IPv4", "IPv6"]),
        ("ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6]", ["IPv6", "IPv4"]),
        ("ipFamilies: [IPv6, IPv4]", ["IPv6", "IPv4"]),
        ('clusterIP: "fd00:10:96::99"', ["IPv6"]),
        ('clusterIP: "fd00:10:96::99", ipFamilyPolicy: PreferDualStack', ["IPv6", "IPv4"]),
    ],
)
def test_families_are_those_the_api_server_would_choose(cluster, spec, families):
    published = cluster.apply(service("a", spec)).objects["Service.shop.a.json"]["spec"]
    assert published["ipFamilies"] == families
    ranges = {4: SERVICES_V4, 6: SERVICES_V6}
    for ip, family in zip(published["clusterIPs"], families, strict=True):
        address = ipaddress.ip_address(ip)
        assert f"IPv{address.version}" == family
        assert address in ranges[address.version]


def test_a_service_that_becomes_dual_stack_keeps_its_first_address(cluster):
    cluster.apply(service("a"))
    cluster.apply(service("a", "ipFamilyPolicy: PreferDualStack"))
    assert addresses(cluster, "a") == ("10.96.0.11", "fd00:10:96::b")


def test_a_headless_service_and_an_external_name_have_no_address(cluster):
    cluster.apply(service("a", "clusterIP: None") + "---" + service("b", "type: ExternalName"))
    assert cluster.objects["Service.shop.a.json"]["spec"]["clusterIPs"] == ["None"]
    assert "clusterIPs" not in cluster.objects["Service.shop.b.json"]["spec"]


def test_what_an_author_wrote_beside_is_published(cluster):
    cluster.apply(service("a", "sessionAffinity: ClientIP", "{port: 80, appProtocol: http}"))
    spec = cluster.objects["Service.shop.a.json"]["spec"]
    assert spec["sessionAffinity"] == "ClientIP"
    assert spec["ports"] == [
        {"port": 80, "appProtocol": "http", "protocol": "TCP", "targetPort": 80}
    ]


def test_node_ports_are_given_kept_and_honoured(cluster):
    cluster.apply(service("a", "type: NodePort") + "---" + service("b", "type: LoadBalancer"))
    cluster.apply(service("c", "type: NodePort", "{port: 80, nodePort: 30080}"))
    ports = {n: cluster.service(f"shop/{n}").spec.ports[0].node_port for n in "abc"}
    assert ports == {"a": NODE_PORTS[0], "b": NODE_PORTS[1], "c": 30080}
    cluster.apply(service("a"))
    assert "nodePort" not in cluster.objects["Service.shop.a.json"]["spec"]["ports"][0]


TWO = "{name: a, port: 80, nodePort: 30001}, {name: b, port: 80, protocol: UDP, nodePort: 30001}"


def test_one_service_may_have_one_node_port_for_two_protocols(cluster):
    assert cluster.apply(service("a", "type: NodePort", TWO)).errors == []


# ---------------------------------------------------------------------------- balancers


def ingress(cluster, name: str) -> list[str]:
    document = cluster.objects[f"Service.shop.{name}.json"]
    return [
        row["ip"]
        for row in document.get("status", {"loadBalancer": {"ingress": ()}})["loadBalancer"][
            "ingress"
        ]
    ]


def test_a_balancer_has_an_address_of_each_family_and_keeps_it(cluster):
    cluster.apply(service("m", "type: LoadBalancer, ipFamilyPolicy: PreferDualStack"))
    before = ingress(cluster, "m")
    assert [ipaddress.ip_address(ip) in pool for ip, pool in zip(before, BALANCERS, strict=True)]
    cluster.apply(service("a", "type: LoadBalancer"))
    assert ingress(cluster, "m") == before
    assert ingress(cluster, "a") not in (before[:1], [])
    assert cluster.service("shop/m").outer_ips == tuple(before)


def test_a_balancers_address_is_free_again_when_its_service_is_none_any_more(cluster):
    cluster.apply(service("a", "type: LoadBalancer"))
    (address,) = ingress(cluster, "a")
    cluster.apply(service("a", "type: NodePort"))
    assert ingress(cluster, "a") == []
    assert ingress(cluster.apply(service("b", "type: LoadBalancer")), "b") == [address]


def test_a_balancer_of_a_class_is_somebody_elses(cluster):
    cluster.apply(service("a", "type: LoadBalancer, loadBalancerClass: example.com/theirs"))
    assert ingress(cluster, "a") == []


def test_a_balancer_may_want_no_node_ports(cluster):
    cluster.apply(service("a", "type: LoadBalancer, allocateLoadBalancerNodePorts: false"))
    assert "nodePort" not in cluster.objects["Service.shop.a.json"]["spec"]["ports"][0]


def test_a_status_that_an_author_wrote_is_not_taken(cluster):
    status = "\n        status: {loadBalancer: {ingress: [{ip: 10.0.0.1}]}}"
    cluster.apply(service("a").rstrip() + status)
    assert "status" not in cluster.objects["Service.shop.a.json"]


def test_a_health_port_is_given_kept_and_honoured(cluster):
    local = "type: LoadBalancer, externalTrafficPolicy: Local"
    cluster.apply(service("a", local))
    cluster.apply(service("b", f"{local}, healthCheckNodePort: 31000"))
    cluster.apply(service("c", "type: LoadBalancer"))
    ports = {n: cluster.service(f"shop/{n}").spec.health_check_node_port for n in "abc"}
    assert ports["b"] == 31000
    assert ports["c"] == 0
    assert ports["a"] in NODE_PORTS
    before = ports["a"]
    cluster.apply(service("aa", "type: NodePort"))
    assert cluster.service("shop/a").spec.health_check_node_port == before
    assert cluster.service("shop/aa").spec.ports[0].node_port != before


# ------------------------------------------------------------------------------ traffic


def test_what_an_author_does_not_say_is_what_the_api_server_means(cluster):
    cluster.apply(
        service("in") + "---" + service("out", "type: NodePort, sessionAffinity: ClientIP")
    )
    inside, outside = (cluster.objects[f"Service.shop.{n}.json"]["spec"] for n in ("in", "out"))
    assert inside["internalTrafficPolicy"] == outside["internalTrafficPolicy"] == "Cluster"
    assert inside["sessionAffinity"] == "None"
    assert "externalTrafficPolicy" not in inside
    assert outside["externalTrafficPolicy"] == "Cluster"
    assert outside["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("internalTrafficPolicy: Node", "spec.internalTrafficPolicy: 'Node' is none of Cluster"),
        ("externalTrafficPolicy: Local", "spec.externalTrafficPolicy: is for NodePort, LoadB"),
        ("sessionAffinity: Cookie", "spec.sessionAffinity: 'Cookie' is none of ClientIP, None"),
        (
            "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is outside 1-86400",
        ),
        ("externalIPs: [nowhere]", "spec.externalIPs[0]: "),
        ("type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/99]", "spec.loadBalancerSource"),
        ("trafficDistribution: Nearby", "spec.trafficDistribution: 'Nearby' is none of Prefer"),
        (
            "type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 80",
            "spec.healthCheckNodePort: 80 is outside 30000-32767",
        ),
    ],
)
def test_a_wish_that_means_nothing_is_one_error(cluster, spec, error):
    cluster.apply(service("a", spec) + "---" + service("b"))
    (only,) = cluster.errors
    assert only.startswith(f"Service shop/a: {error}")
    assert addresses(cluster, "b") == ("10.96.0.11",)


@pytest.mark.parametrize(
    ("wish", "hints"),
    [
        ("PreferSameZone", {"forZones": [{"name": "left"}]}),
        ("PreferClose", {"forZones": [{"name": "left"}]}),
        ("PreferSameNode", {"forNodes": [{"name": "node1"}]}),
    ],
)
def test_a_wish_for_close_endpoints_becomes_hints(make_cluster, wish, hints):
    cluster = make_cluster(2, zones=("left", "right"))
    wishing = service("web", f"selector: {{app: web}}, trafficDistribution: {wish}")
    cluster.apply(wishing + "---" + pod("a", spec=", nodeName: node1")).play()
    (each,) = cluster.objects["EndpointSlice.shop.web-ipv4.json"]["endpoints"]
    assert each["zone"] == "left"
    assert cluster.objects["Node..node2.json"]["metadata"]["labels"][ZONE_LABEL] == "right"
    assert each["hints"] == hints


def test_nobody_is_hinted_to_a_zone_that_is_none(cluster):
    wishing = service("web", "selector: {app: web}, trafficDistribution: PreferSameZone")
    cluster.apply(wishing + "---" + pod("a")).play()
    (each,) = cluster.objects["EndpointSlice.shop.web-ipv4.json"]["endpoints"]
    assert not {"zone", "hints"} & each.keys()


def test_the_services_ranges_are_an_object_and_no_ones_to_write(cluster):
    ranges = cluster.tick().objects["ServiceCIDR..kubernetes.json"]["spec"]["cidrs"]
    assert ranges == [str(SERVICES_V4), str(SERVICES_V6)]
    own = {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "x"}}
    with pytest.raises(Ignored, match="ranges of addresses are the lab's own"):
        read_manifest("own.yaml", own)


# -------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("spec", "ports", "error"),
    [
        ("clusterIP: 10.96.0.10", "", "spec.clusterIPs[0]: 10.96.0.10 belongs to Service kube"),
        ("clusterIP: 10.96.0.11", "", "spec.clusterIPs[0]: 10.96.0.11 belongs to Service shop/a"),
        ("clusterIP: 10.0.0.1", "", "spec.clusterIPs[0]: 10.0.0.1 is outside 10.96.0.0/16"),
        (
            "type: NodePort",
            "{port: 1, nodePort: 30000}",
            "spec.ports[0].nodePort: 30000 belongs to Service shop/a",
        ),
        ("type: NodePort", "{port: 1, nodePort: 80}", "spec.ports[0].nodePort: 80 is outside"),
        ("", "{port: 1}, {port: 2}", "spec.ports[0].name: is missing"),
        ("", "{name: x, port: 1}, {name: x, port: 2}", "spec.ports[1].name: x stands there twice"),
        ("", "{name: x, port: 1}, {name: y, port: 1}", "spec.ports[1].port: 1/TCP stands twice"),
        ("ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]", "", "spec.ipFamilyPolicy: is"),
        ("ipFamilyPolicy: Both", "", "spec.ipFamilyPolicy: 'Both' is no policy"),
        ("ipFamilies: [IPv4, IPv4]", "", "spec.ipFamilies: names one family twice"),
        ("clusterIP: 10.96.0.50, ipFamilies: [IPv6]", "", "spec.clusterIPs: are of other"),
    ],
)
def test_a_clash_or_a_contradiction_is_one_error_and_the_rest_goes_on(cluster, spec, ports, error):
    cluster.apply(service("a", "type: NodePort"))
    cluster.apply(service("aa", spec, ports or "{port: 80}"))
    (only,) = cluster.errors
    assert only.startswith(f"Service shop/aa: {error}")
    assert "Service.shop.aa.json" not in cluster.objects
    assert addresses(cluster, "a") == ("10.96.0.11",)


def test_the_first_of_two_manifests_of_one_object_wins(make_cluster):
    cluster = make_cluster(1)
    cluster.apply(service("kube-dns", "clusterIP: 10.96.0.77").replace("shop", "kube-system"))
    assert cluster.service("kube-system/kube-dns").cluster_ips == ("10.96.0.10",)
    assert "stands in the lab itself already" in cluster.errors[0]


# ------------------------------------------------------------------------------ endpoints


def pod(name: str, port: int = 8080, spec: str = "") -> str:
    ports = (
        f"[{{name: http, containerPort: {port}}}, {{name: dns, containerPort: 53, protocol: UDP}}]"
    )
    return f"""
        apiVersion: v1
        kind: Pod
        metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}
        spec: {{containers: [{{name: c, ports: {ports}}}] {spec}}}
    """


WEB = service("web", "selector: {app: web}", "{name: http, port: 80, targetPort: http}")


def endpoints(cluster, name: str = "shop/web") -> list[tuple[int | None, str, bool | None]]:
    return [
        (each.ports[0].port if each.ports else None, endpoint.addresses[0], endpoint.ready)
        for each in cluster.slices(name)
        for endpoint in each.endpoints or ()
    ]


def test_endpoints_are_the_pods_that_a_selector_matches(cluster):
    cluster.apply(WEB + "---" + pod("a")).play()
    (each,) = cluster.objects["EndpointSlice.shop.web-ipv4.json"]["endpoints"]
    a = cluster.pod("shop/a")
    assert each == {
        "addresses": [a.ips[0]],
        "conditions": {"ready": True, "serving": True, "terminating": False},
        "nodeName": a.spec.node_name,
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": "a", "uid": a.metadata.uid},
    }


def test_a_pod_without_an_address_is_no_endpoint(cluster):
    cluster.apply(WEB + "---" + pod("a"))
    assert endpoints(cluster) == []
    assert [each.name.name for each in cluster.slices("shop/web")] == ["web-ipv4"]


def test_an_unready_pod_is_an_endpoint_that_is_not_ready(cluster):
    cluster.apply(WEB + "---" + pod("a")).play(ready=False)
    assert [ready for _, _, ready in endpoints(cluster)] == [False]


def test_a_leaving_pod_still_serves_but_is_not_ready(cluster):
    cluster.apply(WEB + "---" + pod("a")).play().delete("Pod", "shop/a")
    (each,) = cluster.objects["EndpointSlice.shop.web-ipv4.json"]["endpoints"]
    assert each["conditions"] == {"ready": False, "serving": True, "terminating": True}


def test_publish_not_ready_addresses_makes_every_endpoint_ready(cluster):
    spec = "selector: {app: web}, publishNotReadyAddresses: true"
    cluster.apply(service("web", spec) + "---" + pod("a")).play(ready=False)
    assert [ready for _, _, ready in endpoints(cluster)] == [True]


def test_a_named_port_that_differs_between_pods_makes_slices_of_their_own(cluster):
    cluster.apply(WEB + "---" + pod("a", 8080) + "---" + pod("b", 9090)).play()
    assert [each.name.name for each in cluster.slices("shop/web")] == ["web-ipv4", "web-ipv4-2"]
    assert [port for port, _, _ in endpoints(cluster)] == [8080, 9090]


def test_a_name_is_looked_up_with_its_protocol(cluster):
    ports = "{name: dns, port: 53, targetPort: dns}"  # TCP; the pods' dns is UDP
    cluster.apply(service("web", "selector: {app: web}", ports) + "---" + pod("a")).play()
    assert [port for port, _, _ in endpoints(cluster)] == [None]


def test_a_dual_stack_service_has_slices_of_both_families(cluster):
    spec = "selector: {app: web}, ipFamilyPolicy: PreferDualStack"
    cluster.apply(service("web", spec) + "---" + pod("a")).play()
    assert [each.name.name for each in cluster.slices("shop/web")] == ["web-ipv4", "web-ipv6"]
    assert tuple(ip for _, ip, _ in endpoints(cluster)) == cluster.pod("shop/a").ips


def test_a_host_network_pod_is_an_endpoint_at_its_nodes_address(cluster):
    cluster.apply(WEB + "---" + pod("a", spec=", hostNetwork: true, nodeName: node2")).play()
    assert [ip for _, ip, _ in endpoints(cluster)] == [cluster.lab.node("node2").ips[0]]


def test_slices_that_a_user_wrote_pass_through(cluster):
    cluster.apply("""
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {name: own, namespace: shop, labels: {kubernetes.io/service-name: web}}
        addressType: IPv4
        endpoints: [{addresses: [192.0.2.1]}]
        ports: [{port: 80}]
    """)
    cluster.apply(service("web"))
    assert endpoints(cluster) == [(80, "192.0.2.1", True)]


# -------------------------------------------------------------------- the rest of a cluster


def test_nodes_and_namespaces_are_published(cluster):
    cluster.apply(service("a"))
    names = sorted(name for name in cluster.objects if name.startswith(("Node", "Namespace")))
    assert names == [
        *(f"Namespace..{name}.json" for name in ("default", "kube-system", "shop")),
        *(f"Node..node{number}.json" for number in (1, 2)),
    ]
    node = cluster.objects["Node..node1.json"]
    assert node["spec"]["podCIDRs"] == [*cluster.lab.nodes[0].pod_cidrs]
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node1"


def test_every_document_says_what_it_is_and_since_when(cluster):
    for document in cluster.apply(WEB + "---" + pod("a")).objects.values():
        assert document["apiVersion"]
        assert document["kind"]
        assert document["metadata"]["creationTimestamp"].startswith("2030-")
    before = cluster.objects["Service.shop.web.json"]["metadata"]
    assert cluster.tick().objects["Service.shop.web.json"]["metadata"] == before
