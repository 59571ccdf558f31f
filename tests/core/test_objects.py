from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire_core.errors import ObjectError
from podwire_core.family import canonical_address, canonical_network, family_of
from podwire_core.feed.decode import decode
from podwire_core.objects import (
    EndpointSlice,
    Namespace,
    NetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PolicyType,
    Service,
    ServiceCIDR,
)
from podwire_core.snapshot import Kind

META = {"metadata": {"name": "x", "namespace": "shop"}}


def of(kind: Kind, **fields: Any) -> Any:
    return decode({**META, **fields}, kind, "test")


def test_objects_keep_only_what_we_read() -> None:
    service = of(Service, spec={"clusterIP": "10.96.0.1", "somethingNew": {"deep": [1]}}, status={})
    assert msgspec.to_builtins(service) == {
        "metadata": {"name": "x", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1"},
    }


def test_a_name_without_namespace_is_in_default() -> None:
    assert decode({"metadata": {"name": "x"}}, Pod, "").name == ObjectName("default", "x")
    assert decode({"metadata": {"name": "x", "namespace": "no"}}, Node, "").name == ObjectName(
        "", "x"
    )


def test_addresses_are_canonical() -> None:
    service = of(Service, spec={"clusterIP": "010.096.000.001", "clusterIPs": ["FD00:0::1"]})
    assert service.spec.cluster_ip == "10.96.0.1"
    assert service.cluster_ips == ("fd00::1",)
    node = of(Node, spec={"podCIDRs": ["10.244.1.7/24"]})
    assert node.pod_cidrs == ("10.244.1.0/24",)


@pytest.mark.parametrize(
    ("written", "listed"),
    [
        ("::102:304", "::1.2.3.4"),
        ("::ffff:102:304", "::ffff:1.2.3.4"),
        ("::1:0", "::0.1.0.0"),
        ("::1", "::1"),
        ("0:0::", "::"),
        ("FD00:0:0:1:0:0:0:2", "fd00:0:0:1::2"),
        ("10.0.0.1", "10.0.0.1"),
    ],
)
def test_addresses_and_networks_are_spelled_as_the_kernels_tools_list_them(
    written: str, listed: str
) -> None:
    assert canonical_address(written) == listed
    length = family_of(listed).bits
    assert canonical_network(f"{written}/{length}") == f"{listed}/{length}"
    assert canonical_address(listed) == listed


@pytest.mark.parametrize(
    ("promise", "spec", "addresses"),
    [
        ("a Service has its addresses", {"clusterIP": "10.0.0.1"}, ("10.0.0.1",)),
        (
            "clusterIPs says more than clusterIP",
            {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]},
            ("10.0.0.1", "fd00::1"),
        ),
        ("a headless Service has none", {"clusterIP": "None", "clusterIPs": ["None"]}, ()),
        ("a Service may have none yet", {}, ()),
        (
            "ExternalName has none, whatever it says",
            {"type": "ExternalName", "clusterIP": "10.0.0.1"},
            (),
        ),
    ],
)
def test_cluster_ips(promise: str, spec: dict[str, Any], addresses: tuple[str, ...]) -> None:
    assert of(Service, spec=spec).cluster_ips == addresses, promise


@pytest.mark.parametrize(
    ("promise", "pod", "ips"),
    [
        (
            "podIPs counts",
            {"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}},
            ("10.0.0.1", "fd00::1"),
        ),
        ("podIP alone counts too", {"status": {"podIP": "10.0.0.1"}}, ("10.0.0.1",)),
        (
            "a finished pod owns no address",
            {"status": {"phase": "Succeeded", "podIP": "10.0.0.1"}},
            (),
        ),
        ("a failed pod owns no address", {"status": {"phase": "Failed", "podIP": "10.0.0.1"}}, ()),
        (
            "a hostNetwork pod owns no address",
            {"spec": {"hostNetwork": True}, "status": {"podIP": "192.168.0.1"}},
            (),
        ),
    ],
)
def test_pod_ips(promise: str, pod: dict[str, Any], ips: tuple[str, ...]) -> None:
    assert of(Pod, **pod).ips == ips, promise


def test_sidecars_declare_ports_and_plain_init_containers_do_not() -> None:
    ports = [{"containerPort": 1}]
    pod = of(
        Pod,
        spec={
            "containers": [{"ports": [{"containerPort": 3}]}],
            "initContainers": [
                {"ports": ports},
                {"ports": [{"containerPort": 2}], "restartPolicy": "Always"},
            ],
        },
    )
    assert [port.container_port for port in pod.ports] == [3, 2]


def test_a_namespace_always_has_its_name_as_label() -> None:
    namespace = decode({"metadata": {"name": "shop", "labels": {"a": "b"}}}, Namespace, "")
    assert namespace.labels == {"a": "b", "kubernetes.io/metadata.name": "shop"}


@pytest.mark.parametrize(
    ("spec", "directions"),
    [
        ({}, {PolicyType.INGRESS}),
        ({"egress": []}, {PolicyType.INGRESS}),
        ({"egress": [{}]}, {PolicyType.INGRESS, PolicyType.EGRESS}),
        ({"policyTypes": ["Egress"]}, {PolicyType.EGRESS}),
        ({"policyTypes": ["Ingress"], "egress": [{}]}, {PolicyType.INGRESS}),
    ],
)
def test_policy_types_default_as_the_api_server_defaults_them(spec: Any, directions: Any) -> None:
    assert of(NetworkPolicy, spec=spec).directions == directions


SLICE = {"addressType": "IPv4"}


@pytest.mark.parametrize(
    ("kind", "fields", "field", "reason"),
    [
        (Service, {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port", ">= 1"),
        (
            Service,
            {"spec": {"ports": [{"port": 80, "protocol": "ICMP"}]}},
            "spec.ports[0].protocol",
            "ICMP",
        ),
        (Service, {"spec": {"clusterIP": "ten"}}, "spec.clusterIP", "'ten'"),
        (Service, {"spec": {"clusterIP": "fe80::1%eth0"}}, "spec.clusterIP", "zone"),
        (Pod, {"status": {"podIPs": [{"ip": "1.2.3"}]}}, "status.podIPs[0].ip", "1.2.3"),
        (Node, {"spec": {"podCIDRs": ["10.0.0.0"]}}, "spec.podCIDRs", "no prefix length"),
        (Node, {"spec": "big"}, "spec", "Expected `object`"),
        (EndpointSlice, {}, "", "addressType"),
        (EndpointSlice, {"addressType": "IPX"}, "addressType", "IPX"),
        (EndpointSlice, {**SLICE, "endpoints": [{"addresses": ["x"]}]}, "addresses", "'x'"),
        (
            NetworkPolicy,
            {"spec": {"ingress": [{"from": [{}]}]}},
            "spec.ingress[0].from[0]",
            "a peer needs",
        ),
        (
            NetworkPolicy,
            {
                "spec": {
                    "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}]
                }
            },
            "spec.egress[0].to[0].ipBlock",
            "excludes",
        ),
        (
            NetworkPolicy,
            {"spec": {"egress": [{"ports": [{"port": 90, "endPort": 80}]}]}},
            "spec.egress[0].ports[0].endPort",
            "below",
        ),
        (
            NetworkPolicy,
            {"spec": {"egress": [{"ports": [{"port": "http", "endPort": 80}]}]}},
            "spec.egress[0].ports[0].endPort",
            "numeric",
        ),
        (
            NetworkPolicy,
            {
                "spec": {
                    "egress": [
                        {"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/99"]}}]}
                    ]
                }
            },
            "spec.egress[0].to[0].ipBlock.except",
            "10.1.0.0/99",
        ),
    ],
)
def test_a_bad_object_is_named_with_its_field(
    kind: Kind, fields: Any, field: str, reason: str
) -> None:
    with pytest.raises(ObjectError) as caught:
        of(kind, **fields)
    expected_name = ObjectName("shop", "x") if kind.namespaced() else "x"
    assert caught.value.object == f"{kind.__name__} {expected_name}"
    assert caught.value.field == field
    assert reason in caught.value.reason


@pytest.mark.parametrize("namespace", ["../etc", "a/b", "Shop", "a.b", "x" * 64, "shop\n"])
def test_hostile_namespaces_are_refused(namespace: str) -> None:
    with pytest.raises(ObjectError) as caught:
        decode({"metadata": {"name": "x", "namespace": namespace}}, Pod, "test")
    assert caught.value.field == "metadata.namespace"
    assert "DNS label" in caught.value.reason or "length" in caught.value.reason


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "x" * 254, "-a", 7, "a\n"])
def test_hostile_names_are_refused(name: Any) -> None:
    with pytest.raises(ObjectError):
        decode({"metadata": {"name": name}}, Pod, "test")


# ------------------------------------------------------------------------------ Services


def test_what_a_service_says_of_who_may_come_in_is_kept_as_written() -> None:
    spec = {
        "clusterIP": "10.96.0.1",
        "type": "LoadBalancer",
        "externalIPs": ["198.51.100.7", "no address", ""],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 999_999}},
        "internalTrafficPolicy": "Local",
        "externalTrafficPolicy": "Local",
        "healthCheckNodePort": 32000,
        "loadBalancerSourceRanges": [" 10.0.0.0/8", "10.0.0.0/99"],
    }
    ingress = [{"ip": "203.0.113.1", "ipMode": "Proxy"}, {"hostname": "lb.test"}, {"ip": "what"}]
    status = {"loadBalancer": {"ingress": ingress}, "conditions": []}
    service = of(Service, spec=spec, status=status)
    assert msgspec.json.decode(msgspec.json.encode(service.spec)) == spec
    rows = service.status.load_balancer.ingress
    assert [(row.ip, row.ip_mode) for row in rows] == [
        ("203.0.113.1", "Proxy"),
        ("", None),
        ("what", None),
    ]


def test_a_service_has_no_policy_but_what_it_says() -> None:
    spec = of(Service, spec={"clusterIP": "10.96.0.1"}).spec
    assert (spec.session_affinity, spec.session_affinity_config) == ("None", None)
    assert (spec.internal_traffic_policy, spec.external_traffic_policy) == (None, None)
    assert (spec.external_ips, spec.load_balancer_source_ranges) == (None, None)
    assert spec.health_check_node_port == 0


def test_services_without_a_load_balancer_share_their_status() -> None:
    bare = of(Service)
    assert of(Service, status={"loadBalancer": {}}).status is bare.status
    assert of(Service, status={"loadBalancer": {"ingress": []}}) == bare


def test_an_endpoint_says_whom_it_is_meant_for() -> None:
    hints = {"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n1"}]}
    rows = [
        {"addresses": ["10.1.1.1"], "hints": hints},
        {"addresses": ["10.1.1.2"], "hints": hints, "conditions": {"terminating": True}},
        {"addresses": ["10.1.1.3"], "conditions": {"ready": False, "serving": False}},
    ]
    first, second, third = of(EndpointSlice, addressType="IPv4", endpoints=rows).endpoints
    assert first.hint_zones == ("a", "b")
    assert first.hint_nodes == ("n1",)
    assert first.hints is second.hints, "shared: there are a hundred thousand"
    assert (third.hint_zones, third.hint_nodes) == ((), ())
    assert [each.ready for each in (first, second, third)] == [True, True, False]
    assert [each.serving for each in (first, second, third)] == [True, True, False]
    assert [each.terminating for each in (first, second, third)] == [False, True, False]


def test_of_all_annotations_only_the_time_of_the_change_is_kept() -> None:
    trigger = {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00.5Z"}
    others = {"kubectl.kubernetes.io/last-applied-configuration": "{}" * 1000}

    def annotated(annotations: Any) -> EndpointSlice:
        meta = {**META["metadata"], "annotations": annotations}
        found = decode({"metadata": meta, "addressType": "IPv4"}, EndpointSlice, "test")
        assert isinstance(found, EndpointSlice)
        return found

    bare = of(EndpointSlice, addressType="IPv4")
    told = annotated({**trigger, **others})
    assert told.triggered == "2026-01-01T00:00:00.5Z"
    assert msgspec.to_builtins(told)["metadata"]["annotations"] == trigger
    assert (bare.triggered, told == bare) == ("", False)
    assert annotated(others) == annotated({}) == annotated(None) == bare


def test_a_service_cidr_is_its_ranges() -> None:
    spec = {"cidrs": ["10.96.0.1/16", "FD00:0::/112"]}
    found = of(ServiceCIDR, spec=spec)
    assert found.cidrs == ("10.96.0.0/16", "fd00::/112")
    assert found.name == ObjectName("", "x")
    assert of(ServiceCIDR).cidrs == ()


@pytest.mark.parametrize(
    ("fields", "leaving"),
    [
        ({}, False),
        ({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "X"}]}}, False),
        ({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler"}]}}, True),
        ({"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}, True),
    ],
)
def test_a_node_that_is_deleted_or_to_be_deleted_is_leaving(fields: Any, leaving: bool) -> None:
    assert of(Node, **fields).leaving is leaving


def test_a_taint_that_no_one_reads_is_no_change_of_a_node() -> None:
    assert of(Node, spec={"taints": [{"key": "node.kubernetes.io/disk-pressure"}]}) == of(Node)


def test_a_nodes_zone_is_its_label() -> None:
    labels = {"topology.kubernetes.io/zone": "eu-1"}
    assert of(Node, metadata={"name": "x", "labels": labels}).zone == "eu-1"
    assert of(Node).zone == ""
