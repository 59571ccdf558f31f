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
