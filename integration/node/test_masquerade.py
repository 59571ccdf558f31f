"""Masquerade with real packets: who sees a pod's address, and who the node's.

integration/tools/three_nodes.py draws the nodes. The router stands for the world: it knows no
way to a pod, so what reaches it unmasqueraded gets no answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from three_nodes import Machine, Site, node_address, pod_address, three_nodes, transfer

from podwire_core.family import FAMILIES, Family
from podwire_core.feed.decode import decode
from podwire_core.nft.desired import Desired
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, KubernetesObject, Node, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_node.masquerade import Masquerade
from podwire_proxy.services import Services

V4, V6 = Family.IPV4, Family.IPV6
WORLD = {V4: "192.168.8.254", V6: "fd00:8::254"}
NEAR = {V4: "192.168.7.254", V6: "fd00:7::254"}
VIP = {V4: "10.96.0.10", V6: "fd00:10:96::10"}
OUTER_VIP = {V4: "10.96.0.11", V6: "fd00:10:96::11"}
EXCLUDED = ("192.168.7.0/24", "fd00:7::/64")


def program(machine: Machine, desired: Desired, objects: Sequence[KubernetesObject]) -> Owner:
    """Put what is desired of some objects in force on a node."""
    with machine.netns.inside():
        owner = Owner(Kernel(), desired.tables)
        changes = [Change(type(each), each.name, each) for each in objects]
        owner.change(desired.update(Snapshot(objects), changes))
    return owner


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with three_nodes() as made:
        for machine in made.machines.values():
            program(machine, Masquerade(machine.name, EXCLUDED), machine.nodes)
        yield made


@pytest.mark.parametrize("family", FAMILIES)
def test_the_world_sees_the_nodes_address(site: Site, family: Family) -> None:
    for name in ("one", "two"):
        assert transfer(site[name].pod, site.router, WORLD[family]) == node_address(name, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_see_pods(site: Site, family: Family) -> None:
    for target in ("two", "three"):
        assert site.transfer("one", target, family) == pod_address("one", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_another_node_sees_our_nodes_address(site: Site, family: Family) -> None:
    seen = transfer(site["one"].pod, site["three"].netns, node_address("three", family))
    assert seen == node_address("one", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_our_own_node_sees_the_pod(site: Site, family: Family) -> None:
    seen = transfer(site["one"].pod, site["one"].netns, node_address("one", family))
    assert seen == pod_address("one", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_excluded_network_sees_the_pod(site: Site, family: Family) -> None:
    cidr = {V4: "10.244.1.0/24", V6: "fd00:10:244:1::/64"}[family]
    site.router.run("ip", "route", "replace", cidr, "via", node_address("one", family))
    try:
        seen = transfer(site["one"].pod, site.router, NEAR[family])
    finally:
        site.router.run("ip", "route", "del", cidr)
    assert seen == pod_address("one", family)


def service(name: str, addresses: dict[Family, str], endpoints: dict[Family, str]) -> list[Any]:
    """A dual-stack Service on port 5000 with one endpoint a family."""
    metadata = {"name": name, "namespace": "shop"}
    ips = list(addresses.values())
    spec = {"clusterIP": ips[0], "clusterIPs": ips, "ports": [{"port": 5000}]}
    made = [decode({"metadata": metadata, "spec": spec}, Service, "test")]
    for family in FAMILIES:
        document = {
            "metadata": {
                "name": f"{name}-{family.nft}",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": str(family),
            "ports": [{"port": 5000}],
            "endpoints": [{"addresses": [endpoints[family]], "conditions": {"ready": True}}],
        }
        made.append(decode(document, EndpointSlice, "test"))
    return made


@pytest.fixture(scope="module")
def services(site: Site) -> Site:
    """The proxy's tables beside ours on node one: an endpoint that is a pod, and one outside."""
    pods = {family: pod_address("three", family) for family in FAMILIES}
    objects = [*service("web", VIP, pods), *service("outer", OUTER_VIP, WORLD)]
    nodes: list[KubernetesObject] = [*site["one"].nodes]
    assert all(isinstance(each, Node) for each in nodes)
    program(site["one"], Services("one"), [*nodes, *objects])
    return site


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_of_pods_sees_the_pod(services: Site, family: Family) -> None:
    one, three = services["one"], services["three"]
    seen = transfer(one.pod, three.pod, pod_address("three", family), dials=VIP[family])
    assert seen == pod_address("one", family)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_node_itself_reaches_a_service_of_wrapped_pods(services: Site, family: Family) -> None:
    """It starts from the uplink's address; the proxy gives it the overlay's, on the way out."""
    one, three = services["one"], services["three"]
    seen = transfer(one.netns, three.pod, pod_address("three", family), dials=VIP[family])
    assert seen == {V4: "10.244.1.1", V6: "fd00:10:244:1::1"}[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_of_someone_outside_sees_the_node(services: Site, family: Family) -> None:
    one = services["one"]
    seen = transfer(one.pod, services.router, WORLD[family], dials=OUTER_VIP[family])
    assert seen == node_address("one", family)


def test_the_kernel_holds_what_was_wanted_and_a_restart_sends_nothing(site: Site) -> None:
    one = site["one"]
    again = Masquerade("one", EXCLUDED)
    again.update(Snapshot(one.nodes), [Change(Node, each.name, each) for each in one.nodes])
    with one.netns.inside():
        owner = Owner(Kernel(), again.tables)
        owner.adopt()
        assert not owner.sync(again.wanted)
        assert owner.commits == 0
