"""What of a Service can be dialled, how, and what is told of the rest."""

from __future__ import annotations

from typing import Any

import pytest
from proxy_stage import HERE, NEW, Stage, endpoints, read, service, sticky

from podwire_core.errors import ObjectError
from podwire_core.family import Family
from podwire_core.objects import EndpointSlice, ObjectName, Service
from podwire_proxy.endpoints import Place
from podwire_proxy.frontend import Frontend, Plan, Policy
from podwire_proxy.health import HealthCheck
from podwire_proxy.plans import (
    AFFINITY_SECONDS,
    MAX_BACKENDS,
    MAX_FRONTENDS,
    MAX_PROBLEMS,
    Planned,
    plan,
)

PLACE = Place(HERE, ips=("192.168.77.1", "fd00:77::1"))
V4, V6 = "10.96.0.10", "fd00:10:96::a"
BOTH: dict[str, Any] = {"clusterIPs": [V4, V6]}
LOCAL: dict[str, Any] = {"externalTrafficPolicy": "Local"}


def planned(each: Service, *slices: EndpointSlice) -> Planned:
    return plan(each, slices, PLACE)


def dialled(each: Service) -> set[str]:
    """What a client may dial."""
    return {str(frontend) for frontend in planned(each).frontends}


def one(each: Service, text: str, *slices: EndpointSlice) -> Plan:
    """The plan of one frontend."""
    frontends = planned(each, *slices).frontends
    return next(found for frontend, found in frontends.items() if str(frontend) == text)


def told(each: Service, *slices: EndpointSlice) -> ObjectError:
    """The one problem of a Service."""
    (problem,) = planned(each, *slices).problems
    return problem


# What can be dialled


@pytest.mark.parametrize(
    ("promise", "each", "expected"),
    [
        ("a ClusterIP", service("x"), {"10.96.0.10:80/TCP"}),
        ("headless", service("x", "None"), set()),
        ("no address yet", service("x", ""), set()),
        ("ExternalName", service("x", type="ExternalName", externalIPs=["1.1.1.1"]), set()),
        ("headless and more", service("x", "None", nodePort=30000, balancer=["1.1.1.1"]), set()),
        ("no ports", service("x", ports=[]), set()),
        ("ports null", service("x", ports=None, nodePort=1), set()),
        ("both families", service("x", **BOTH), {"10.96.0.10:80/TCP", "[fd00:10:96::a]:80/TCP"}),
        ("IPv6 first", service("x", V6), {"[fd00:10:96::a]:80/TCP"}),
        (
            "a NodePort of any type",
            service("x", nodePort=30000),
            {"10.96.0.10:80/TCP", "node:30000/TCP"},
        ),
        ("no NodePort", service("x", nodePort=0, type="NodePort"), {"10.96.0.10:80/TCP"}),
        (
            "external IPs of any type",
            service("x", externalIPs=["1.1.1.1", " 2.2.2.2 "]),
            {"10.96.0.10:80/TCP", "1.1.1.1:80/TCP", "2.2.2.2:80/TCP"},
        ),
        (
            "a balancer's address of any type",
            service("x", balancer=["1.1.1.1"]),
            {"10.96.0.10:80/TCP", "1.1.1.1:80/TCP"},
        ),
        ("loadBalancerIP is a wish", service("x", loadBalancerIP="1.1.1.1"), {"10.96.0.10:80/TCP"}),
        (
            "addresses of a family without ClusterIP",
            service("x", externalIPs=["2001:db8::1"], balancer=["2001:db8::2"], nodePort=30000),
            {"10.96.0.10:80/TCP", "node:30000/TCP"},
        ),
        (
            "its own ClusterIP again",
            service("x", externalIPs=[V4], balancer=[V4]),
            {"10.96.0.10:80/TCP"},
        ),
        (
            "blanks are nothing",
            service("x", externalIPs=["", " "], balancer=[""]),
            {"10.96.0.10:80/TCP"},
        ),
        (
            "old spellings",
            service("x", "010.096.000.010", externalIPs=["203.0.113.009"], balancer=["1.1.1.01"]),
            {"10.96.0.10:80/TCP", "203.0.113.9:80/TCP", "1.1.1.1:80/TCP"},
        ),
    ],
    ids=lambda row: row if isinstance(row, str) else "",
)
def test_what_can_be_dialled(promise: str, each: Service, expected: set[str]) -> None:
    assert dialled(each) == expected, promise
    assert planned(each).problems == [], promise


def test_one_number_is_three_ports_for_three_protocols() -> None:
    ports = [
        {"name": each.lower(), "port": 53, "protocol": each} for each in ("TCP", "UDP", "SCTP")
    ]
    assert dialled(service("x", ports=ports)) == {
        f"10.96.0.10:53/{p}" for p in ("TCP", "UDP", "SCTP")
    }


def test_ports_join_by_name_and_protocol_and_not_by_number() -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    each = service("web", ports=ports)
    slices = (
        endpoints("web", 1, port={"name": "b", "port": 80}),
        endpoints("web", 2, name="web-2", port={"name": "a", "port": 81, "protocol": "UDP"}),
    )
    assert one(each, "10.96.0.10:80/TCP", *slices).cluster == frozenset()
    assert {b.port for b in one(each, "10.96.0.10:81/TCP", *slices).cluster} == {80}


@pytest.mark.parametrize(
    ("mode", "served"), [(None, True), ("VIP", True), ("Proxy", False), ("New", False)]
)
def test_a_balancer_that_proxies_is_not_passed_by(mode: str | None, served: bool) -> None:
    each = _with_ingress({"ip": "1.1.1.1", "ipMode": mode}, {"hostname": "lb.example.com"})
    assert ("1.1.1.1:80/TCP" in dialled(each)) is served


def _with_ingress(*rows: dict[str, Any], **spec: Any) -> Service:
    document = {
        "metadata": {"name": "x"},
        "spec": {"clusterIP": V4, "ports": [{"port": 80}], **spec},
        "status": {"loadBalancer": {"ingress": list(rows)}},
    }
    return read(Service, document)


# How it is served


@pytest.mark.parametrize("inside", [None, "Cluster", "Local"])
@pytest.mark.parametrize("outside", [None, "Cluster", "Local"])
def test_each_policy_has_its_own_frontends(inside: str | None, outside: str | None) -> None:
    each = service(
        "x",
        internalTrafficPolicy=inside,
        externalTrafficPolicy=outside,
        nodePort=30000,
        externalIPs=["1.1.1.1"],
        balancer=["2.2.2.2"],
    )
    policies = {
        str(frontend): (p.policy, p.external) for frontend, p in planned(each).frontends.items()
    }
    assert policies.pop("10.96.0.10:80/TCP") == (
        Policy.LOCAL if inside == "Local" else Policy.CLUSTER,
        False,
    )
    expected = Policy.SPLIT if outside == "Local" else Policy.CLUSTER
    assert set(policies.values()) == {(expected, True)}
    assert len(policies) == 3


def test_source_ranges_guard_the_balancer_s_addresses_alone() -> None:
    each = service(
        "x",
        nodePort=30000,
        externalIPs=["1.1.1.1"],
        balancer=["2.2.2.2"],
        loadBalancerSourceRanges=["10.0.0.0/8"],
    )
    guarded = {str(frontend) for frontend, p in planned(each).frontends.items() if p.guard}
    assert guarded == {"2.2.2.2:80/TCP"}


@pytest.mark.parametrize(
    ("promise", "ranges", "v4", "v6"),
    [
        ("none said, everyone may come", [], None, None),
        ("blanks say nothing", ["", "  "], None, None),
        ("one family's ranges leave the other open", ["10.0.0.0/8"], ("10.0.0.0/8",), None),
        ("the same the other way round", ["fd00::/8"], None, ("fd00::/8",)),
        ("both families", ["10.0.0.0/8", "fd00::/8"], ("10.0.0.0/8",), ("fd00::/8",)),
        ("blanks around", ["  10.0.0.0/8\t"], ("10.0.0.0/8",), None),
        ("old spellings", ["203.0.113.000/025"], ("203.0.113.0/25",), None),
        ("host bits", ["10.1.2.3/8"], ("10.0.0.0/8",), None),
        ("overlaps are one", ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8"], ("10.0.0.0/8",), None),
        ("halves are a whole", ["0.0.0.0/1", "128.0.0.0/1"], ("0.0.0.0/0",), None),
    ],
)
def test_source_ranges_by_family(
    promise: str, ranges: list[str], v4: tuple[str, ...] | None, v6: tuple[str, ...] | None
) -> None:
    each = service(
        "x", **BOTH, balancer=["2.2.2.2", "2001:db8::2"], loadBalancerSourceRanges=ranges
    )
    for text, expected in (("2.2.2.2:80/TCP", v4), ("[2001:db8::2]:80/TCP", v6)):
        guard = one(each, text).guard
        assert (guard.ranges if guard else None) == expected, promise
    assert planned(each).problems == []


@pytest.mark.parametrize(
    ("ranges", "node"), [(["192.168.77.0/24"], True), (["192.168.78.0/24"], False)]
)
def test_ranges_that_hold_the_node_hold_the_address_that_the_node_has_itself(
    ranges: list[str],
    node: bool,
) -> None:
    guard = one(
        service("x", balancer=["2.2.2.2"], loadBalancerSourceRanges=ranges), "2.2.2.2:80/TCP"
    ).guard
    assert guard is not None
    assert guard.node is node


def test_equal_ranges_have_one_name_in_whatever_order() -> None:
    def name(*ranges: str) -> str:
        each = service("x", balancer=["2.2.2.2"], loadBalancerSourceRanges=list(ranges))
        guard = one(each, "2.2.2.2:80/TCP").guard
        assert guard is not None
        return guard.name

    assert name("10.0.0.0/8", "192.168.0.0/16") == name("192.168.0.0/16", "10.0.0.0/8")
    assert name("10.0.0.0/8") != name("10.0.0.0/9")


def test_each_protocol_tells_whose_conversations_go_on() -> None:
    ports = [{"name": p.lower(), "port": 53, "protocol": p} for p in ("TCP", "UDP")]
    slices = [
        endpoints("x", 1, name=p, port={"name": p.lower(), "port": 53, "protocol": p})
        for p in ("TCP", "UDP")
    ]
    each = service("x", ports=ports)
    assert len(one(each, "10.96.0.10:53/TCP", *slices).serving) == 1
    assert len(one(each, "10.96.0.10:53/UDP", *slices).serving) == 1


# What is told


@pytest.mark.parametrize(
    ("promise", "each", "field", "words"),
    [
        (
            "an external IP that is none",
            service("x", externalIPs=["1.1.1.1", "1.2.3.400"]),
            "spec.externalIPs",
            "1.2.3.400",
        ),
        (
            "an external IP with a zone",
            service("x", externalIPs=["fe80::1%eth0"]),
            "spec.externalIPs",
            "zone",
        ),
        (
            "a balancer's address that is none",
            service("x", balancer=["1.1.1.1/32", "1.1.1.2"]),
            "status.loadBalancer.ingress",
            "1.1.1.1/32",
        ),
        (
            "a range that is none",
            service("x", balancer=["1.1.1.1"], loadBalancerSourceRanges=["10.0.0.0/33", "::/0"]),
            "spec.loadBalancerSourceRanges",
            "10.0.0.0/33",
        ),
        (
            "a range without length",
            service("x", balancer=["1.1.1.1"], loadBalancerSourceRanges=["10.0.0.1"]),
            "spec.loadBalancerSourceRanges",
            "10.0.0.1",
        ),
        (
            "a mask instead of a length",
            service("x", balancer=["1.1.1.1"], loadBalancerSourceRanges=["10.0.0.0/0.0.0.255"]),
            "spec.loadBalancerSourceRanges",
            "10.0.0.0/0.0.0.255",
        ),
        (
            "a timeout of a week",
            sticky("x", timeout=604_800),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "604800",
        ),
        (
            "a negative timeout",
            sticky("x", timeout=-1),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            "-1",
        ),
        (
            "no healthCheckNodePort",
            service("x", type="LoadBalancer", **LOCAL),
            "spec.healthCheckNodePort",
            "Local",
        ),
    ],
    ids=lambda row: row if isinstance(row, str) and " " in row else "",
)
def test_what_breaks_a_rule_is_told_once_and_the_rest_is_served(
    promise: str, each: Service, field: str, words: str
) -> None:
    problem = told(each)
    assert (problem.object, problem.field) == ("Service default/x", field), promise
    assert words in problem.reason, promise
    assert "10.96.0.10:80/TCP" in dialled(each)
    good = set(each.spec.external_ips or ()) & {"1.1.1.1"}
    assert all(f"{address}:80/TCP" in dialled(each) for address in good)


def test_both_families_of_a_service_tell_a_problem_once() -> None:
    assert told(service("x", **BOTH, externalIPs=["nowhere"])).field == "spec.externalIPs"
    assert "10800 is used" in told(sticky("x", **BOTH, timeout=10**12)).reason


def test_ranges_of_which_none_can_be_read_let_no_one_in() -> None:
    each = service("x", balancer=["1.1.1.1"], loadBalancerSourceRanges=["everyone"])
    guard = one(each, "1.1.1.1:80/TCP").guard
    assert guard is not None
    assert guard.ranges == ()


def test_five_thousand_endpoints_are_told_and_those_that_fit_are_used() -> None:
    slices = [
        endpoints("x", *range(first, first + 1000), name=f"x-{first}")
        for first in range(1, 5001, 1000)
    ]
    problem = told(service("x"), *slices)
    assert (problem.object, problem.field) == ("Service default/x", "spec.ports")
    assert problem.reason == "default/x:80 has 5000 endpoints, of which 4096 are used"
    found = one(service("x"), "10.96.0.10:80/TCP", *slices)
    assert len(found.cluster) == MAX_BACKENDS
    assert found == one(service("x"), "10.96.0.10:80/TCP", *reversed(slices))


def test_addresses_without_end_are_told_and_those_that_fit_are_served() -> None:
    many = [f"1.{a}.{b}.{c}" for a in range(1, 3) for b in range(40) for c in range(220)]
    each = service("x", externalIPs=many)
    assert told(each).field == "spec"
    assert len(planned(each).frontends) == MAX_FRONTENDS
    assert "10.96.0.10:80/TCP" in dialled(each)


def test_problems_without_end_are_counted() -> None:
    problems = planned(service("x", externalIPs=[f"no-{n}" for n in range(30_000)])).problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].reason == f"{30_000 - MAX_PROBLEMS} more problems like these"


def test_a_problem_quotes_no_more_than_a_line() -> None:
    assert len(told(service("x", externalIPs=["9" * 1_000_000])).reason) < 250


def test_an_address_of_the_wrong_family_names_slice_and_endpoint() -> None:
    document = {
        "metadata": {"name": "bad", "labels": {"kubernetes.io/service-name": "x"}},
        "addressType": "IPv4",
        "ports": [{"port": 8080, "name": ""}],
        "endpoints": [{"addresses": ["10.244.9.9"]}, {"addresses": ["fd00::1"]}],
    }
    slice_ = read(EndpointSlice, document)
    problem = told(service("x", **BOTH), slice_)
    assert problem.object == "EndpointSlice default/bad"
    assert problem.field == "endpoints[1].addresses[0]"
    found = one(service("x", **BOTH), "10.96.0.10:80/TCP", slice_)
    assert {each.address for each in found.cluster} == {"10.244.9.9"}


def test_a_timeout_that_cannot_be_used_is_the_default() -> None:
    for seconds in (None, -1, 86_401):
        found = one(sticky("x", timeout=seconds), "10.96.0.10:80/TCP").affinity
        assert found is not None
        assert found.timeout == AFFINITY_SECONDS


@pytest.mark.parametrize("seconds", [1, 86_400])
def test_the_least_and_the_most_timeout(seconds: int) -> None:
    found = one(sticky("x", timeout=seconds), "10.96.0.10:80/TCP").affinity
    assert found is not None
    assert found.timeout == seconds


# What a healthCheckNodePort says

BALANCED: dict[str, Any] = {"type": "LoadBalancer", "healthCheckNodePort": 32000, **LOCAL}


@pytest.mark.parametrize(
    ("promise", "spec", "expected"),
    [
        ("a balancer that keeps to the node", BALANCED, HealthCheck(32000, 0)),
        ("not of another type", {**BALANCED, "type": "NodePort"}, None),
        ("not of policy Cluster", {**BALANCED, "externalTrafficPolicy": "Cluster"}, None),
        ("not of a headless one", {**BALANCED, "clusterIP": "None"}, None),
    ],
)
def test_who_has_a_health_check(
    promise: str, spec: dict[str, Any], expected: HealthCheck | None
) -> None:
    assert planned(service("x", **spec)).health == expected, promise


@pytest.mark.parametrize(
    ("promise", "slices", "count"),
    [
        ("ready endpoints here", [endpoints("x", 1, 2, 3, here=[1, 2])], 2),
        ("none here", [endpoints("x", 1, 2)], 0),
        (
            "an address counts once, whatever its ports",
            [
                endpoints("x", 1, here=[1]),
                endpoints("x", 1, here=[1], name="x-2", port={"name": "b", "port": 9}),
            ],
            1,
        ),
        (
            "ending ones do not count, though they serve",
            [endpoints("x", 1, here=[1], conditions={"ready": False, "terminating": True})],
            0,
        ),
        (
            "a pod of two families is one",
            [endpoints("x", 1, here=[1]), endpoints("x", 1, here=[1], name="x-6", family="IPv6")],
            1,
        ),
        ("a port without number is none", [endpoints("x", 1, here=[1], port={"name": ""})], 0),
        (
            "names of hosts are no addresses",
            [endpoints("x", 1, here=[1], family="FQDN", addresses=["x.org"])],
            0,
        ),
    ],
)
def test_what_a_health_check_counts(promise: str, slices: list[EndpointSlice], count: int) -> None:
    assert planned(service("x", **BALANCED), *slices).health == HealthCheck(32000, count), promise


# One address, two Services


def test_the_older_service_holds_the_address_and_the_other_is_told() -> None:
    stage = Stage()
    stage.put(service("web"), service("thief", created=NEW, nodePort=30000))
    stage.put(endpoints("web", 1), endpoints("thief", 2))
    (problem,) = stage.services.problems
    assert (problem.object, problem.field) == ("Service default/thief", "spec.ports")
    assert problem.reason == "10.96.0.10:80/TCP is Service default/web's, which is older"
    assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.1",)
    assert stage.backends("node:30000/TCP") == ("10.244.0.2",), "the rest of it is served"
    stage.remove(service("web"))
    assert stage.services.problems == []
    assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.2",)


def test_who_is_older_does_not_depend_on_who_came_first() -> None:
    rivals = [service("a", created=NEW), service("b"), service("c")]
    for order in (rivals, rivals[::-1]):
        stage = Stage()
        for each in order:
            stage.put(each)
        stage.put(*(endpoints(each.metadata.name, n) for n, each in enumerate(rivals, 1)))
        assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.2",), "the older, then by name"


def test_an_external_ip_does_not_take_an_older_service_s_nodeport_or_address() -> None:
    stage = Stage()
    stage.put(service("web", nodePort=30000), endpoints("web", 1))
    stage.put(service("thief", "10.96.0.11", NEW, externalIPs=[V4], nodePort=30000))
    assert {each.reason.split(" ")[0] for each in stage.services.problems} == {
        "10.96.0.10:80/TCP",
        "node:30000/TCP",
    }
    assert stage.backends("node:30000/TCP") == ("10.244.0.1",)


def test_a_service_that_two_name_alike_in_other_namespaces_are_two() -> None:
    stage = Stage()
    documents = [
        {
            "metadata": {"name": "web", "namespace": each},
            "spec": {"clusterIP": address, "ports": [{"port": 80}]},
        }
        for each, address in (("one", V4), ("two", "10.96.0.11"))
    ]
    stage.put(*(read(Service, each) for each in documents))
    assert stage.elements("unavailable") == {
        "10.96.0.10 . tcp . 80": "goto refuse",
        "10.96.0.11 . tcp . 80": "goto refuse",
    }
    assert stage.snapshot.get(Service, ObjectName("one", "web"))


def test_a_frontend_is_spelled_as_people_do() -> None:
    ports = [{"port": 53, "protocol": "UDP", "nodePort": 30053}]
    assert dialled(service("x", V6, ports=ports)) == {"[fd00:10:96::a]:53/UDP", "node:30053/UDP"}
    assert Frontend(Family.IPV6, V6, *_udp53()).parts == (V6, "udp", "53")


def _udp53() -> tuple[Any, int]:
    protocol = service("x", protocol="UDP").spec.ports[0].protocol  # type: ignore[index]  # it has one
    return protocol, 53


# Addresses that lead nowhere, or to the node itself


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "169.254.169.254", "224.0.0.1", "239.1.2.3"]
)
def test_no_service_leads_to_what_is_everyones_own(address: str) -> None:
    slice_ = read(
        EndpointSlice,
        {
            "metadata": {"name": "x-1", "labels": {"kubernetes.io/service-name": "x"}},
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 80}],
            "endpoints": [{"addresses": [address]}, {"addresses": ["10.244.0.1"]}],
        },
    )
    problem = told(service("x"), slice_)
    assert (problem.object, problem.field) == (
        "EndpointSlice default/x-1",
        "endpoints[0].addresses[0]",
    )
    (plan_,) = planned(service("x"), slice_).frontends.values()
    assert {each.address for each in plan_.cluster} == {"10.244.0.1"}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "fe80::1", "ff02::1", "::", "224.0.0.1"])
def test_no_service_takes_what_is_everyones_own(address: str) -> None:
    each = service("x", externalIPs=[address], **BOTH)
    assert told(each).field == "spec.externalIPs"
    assert dialled(each) == {"10.96.0.10:80/TCP", "[fd00:10:96::a]:80/TCP"}


@pytest.mark.parametrize("address", ["22.1.2.3", "23.0.0.1", "12.7.0.1"])
def test_what_only_looks_like_it_is_an_address_like_others(address: str) -> None:
    assert planned(service("x", externalIPs=[address])).problems == []
