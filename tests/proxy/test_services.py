"""What services.py keeps in mind: who shares what, who owns which slice, what a restart finds."""

from __future__ import annotations

from typing import Any

import pytest
from proxy_stage import HERE, Stage, endpoints, node, read, service, sticky

from podwire_core.family import Family
from podwire_core.nft.desired import Walk
from podwire_core.nft.objects import Element
from podwire_core.objects import Node, ObjectName, Service
from podwire_core.snapshot import Snapshot
from podwire_proxy.options import Local, Options
from podwire_proxy.services import Services


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.put(service("web"), endpoints("web", *range(10, 20), here=range(10, 20)))
    made.put(service("other", "10.96.0.11"), endpoints("other", 10, 11, here=[10, 11]))
    return made


# What several share


def test_an_endpoint_that_two_services_share_keeps_its_hairpin(stage: Stage) -> None:
    sent = stage.put(endpoints("web", *range(11, 20), here=range(11, 20)))
    assert "hairpin" not in str(sent)
    assert "10.244.0.10 . 10.244.0.10" in stage.elements("hairpin")
    stage.remove(endpoints("other"))
    assert "10.244.0.10 . 10.244.0.10" not in stage.elements("hairpin")


def test_two_services_of_one_address_share_it(stage: Stage) -> None:
    stage.put(service("more", port=81))
    stage.remove(service("web"))
    assert "10.96.0.10" in stage.elements("cluster-ips")
    stage.remove(service("more"))
    assert "10.96.0.10" not in stage.elements("cluster-ips")


def test_while_much_is_put_in_force_no_address_refuses_what_its_service_serves(
    stage: Stage,
) -> None:
    stage.put(service("more", port=81), service("last", "10.96.0.9"))
    walk = [each for each in stage.services.wanted.values() if isinstance(each, Element)]
    addresses = [each.parts[0] for each in walk if each.set == "cluster-ips"]
    assert sorted(addresses) == ["10.96.0.10", "10.96.0.11", "10.96.0.9"], "each once"
    for address in addresses:
        (at,) = (
            n
            for n, each in enumerate(walk)
            if each.set == "cluster-ips" and each.parts[0] == address
        )
        ends = [
            n
            for n, each in enumerate(walk)
            if each.set in {"frontends", "unavailable"} and each.parts[0] == address
        ]
        assert {each.parts[0] for each in walk[at : max(ends)]} == {address}


def test_a_service_that_goes_takes_everything_of_its_own(stage: Stage) -> None:
    before = stage.in_force
    each = sticky(
        "third",
        "10.96.0.12",
        nodePort=30000,
        balancer=["1.1.1.1"],
        externalTrafficPolicy="Local",
        loadBalancerSourceRanges=["10.0.0.0/8"],
    )
    stage.put(each, endpoints("third", 77, 78, 79, here=[78]))
    stage.remove(each)
    stage.remove(endpoints("third"))
    assert stage.in_force == before


def test_nothing_is_kept_of_what_comes_and_goes(stage: Stage) -> None:
    kept = len(stage.services._shares._elements), len(stage.services._shares._named)
    for number in range(20):
        ranges = [f"10.{number}.0.0/16"]
        each = service("third", "10.96.0.12", balancer=["1.1.1.1"], loadBalancerSourceRanges=ranges)
        stage.put(each, endpoints("third", 77))
        stage.remove(each, endpoints("third"))
    assert (len(stage.services._shares._elements), len(stage.services._shares._named)) == kept


def test_an_endpoint_that_only_the_world_is_sent_to_may_reach_itself() -> None:
    stage = Stage()
    hints: tuple[dict[str, Any], ...] = (
        {"hints": {"forZones": [{"name": "a"}]}},
        {"hints": {"forZones": [{"name": "b"}]}},
    )
    stage.put(node(HERE, zone="a"))
    stage.put(service("web", nodePort=30000, externalTrafficPolicy="Local"))
    stage.put(endpoints("web", 1, **hints[0]), endpoints("web", 2, name="b", here=[2], **hints[1]))
    assert stage.backends("node:30000/TCP") == ("10.244.0.1",)
    assert stage.elements("hairpin") == {"10.244.0.2 . 10.244.0.2": ""}


# What others ask

LOCAL: dict[str, Any] = {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}
MANY: dict[str, Any] = {"nodePort": 30000, "balancer": ["1.1.1.1"], "externalIPs": ["2.2.2.2"]}


@pytest.mark.parametrize(
    ("promise", "each", "here", "internal", "external"),
    [
        ("none lacks any under policy Cluster", service("web", **MANY), [], 0, 0),
        ("inside", service("web", internalTrafficPolicy="Local"), [], 1, 0),
        ("a port outside once, not each address", service("web", **MANY, **LOCAL), [], 1, 1),
        ("some are here", service("web", **MANY, **LOCAL), [2], 0, 0),
        ("who cannot be dialled from outside", service("web", **LOCAL), [], 1, 0),
    ],
)
def test_how_many_ports_lack_a_local_endpoint(
    promise: str, each: Service, here: list[int], internal: int, external: int
) -> None:
    stage = Stage()
    stage.put(each)
    assert stage.services.no_local[Family.IPV4] == (0, 0), "none at all is no lack"
    stage.put(endpoints("web", 1, 2, here=here))
    assert stage.services.no_local[Family.IPV4] == (internal, external), promise
    assert stage.services.no_local[Family.IPV6] == (0, 0)
    stage.remove(each)
    assert stage.services.no_local[Family.IPV4] == (0, 0)


def test_udp_conversations_go_on_with_all_that_serve() -> None:
    stage = Stage()
    port = {"name": "", "port": 53, "protocol": "UDP"}
    stage.put(service("dns", protocol="UDP", nodePort=30053), service("web", "10.96.0.11"))
    assert set(stage.services.udp_serving.values()) == {frozenset()}
    ending: dict[str, Any] = {"conditions": {"ready": False, "serving": True, "terminating": True}}
    stage.put(endpoints("dns", 1, port=port), endpoints("dns", 2, name="b", port=port, **ending))
    served = {str(each): rows for each, rows in stage.services.udp_serving.items()}
    assert set(served) == {"10.96.0.10:80/UDP", "node:30053/UDP"}
    assert {tuple(sorted(b.address for b in rows)) for rows in served.values()} == {
        ("10.244.0.1", "10.244.0.2")
    }
    seen = stage.services.udp_changes
    stage.put(endpoints("web", 7))
    assert stage.services.udp_changes == seen, "TCP is no concern of it"
    stage.remove(service("dns"))
    assert stage.services.udp_serving == {}
    assert stage.services.udp_changes > seen


# Whose slice is it


def test_endpoints_may_come_before_their_service() -> None:
    early, late = Stage(), Stage()
    early.put(endpoints("web", 10, 11))
    early.put(service("web"))
    late.put(service("web"))
    late.put(endpoints("web", 10, 11))
    assert early.in_force == late.in_force


def test_a_slice_may_move_to_another_service(stage: Stage) -> None:
    stage.put(endpoints("other", *range(10, 20), name="web-1"))
    assert stage.backends("10.96.0.10:80/TCP") == ()
    assert len(stage.backends("10.96.0.11:80/TCP")) == 10


def test_an_endpoint_moves_between_slices_in_either_order(stage: Stage) -> None:
    for first, second in (("web-1", "web-2"), ("web-2", "web-1")):
        stage.put(endpoints("web", 10, name=first))
        stage.put(endpoints("web", name=second))
        assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.10",)


def test_endpoints_of_the_other_family_never_serve() -> None:
    stage = Stage()
    stage.put(service("web", "fd00:10:96::1"), endpoints("web", 10))
    assert stage.elements("unavailable", "ip6") == {"fd00:10:96::1 . tcp . 80": "goto refuse"}


@pytest.mark.parametrize("first", ["ExternalName", "ClusterIP"])
def test_a_service_may_become_a_name_and_an_address_again(first: str) -> None:
    stage = Stage()
    stage.put(endpoints("web", 10), service("web", type=first))
    for kind in ("ExternalName", "NodePort", "ExternalName", "ClusterIP"):
        stage.put(service("web", type=kind))
        assert bool(stage.elements("frontends")) is (kind != "ExternalName")


def test_a_service_that_is_made_anew_is_young(stage: Stage) -> None:
    stage.put(service("rival", created="2026-02-01T00:00:00Z"), endpoints("rival", 30))
    stage.put(service("web", created="2026-03-01T00:00:00Z"))
    assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.30",)


def test_removing_what_was_never_there_is_silent(stage: Stage) -> None:
    assert not stage.remove(service("ghost"), endpoints("ghost"))
    assert stage.services.problems == []
    assert stage.snapshot.get(Service, ObjectName("default", "ghost")) is None


# What a restart finds


def test_a_restart_sends_nothing(stage: Stage) -> None:
    stage.put(endpoints("web", 15, 12, 99))  # slots that no fresh start would choose
    again = stage.again()
    assert not again.start(*stage.objects)
    assert not again.put(*stage.objects)
    assert again.backends("10.96.0.10:80/TCP") == stage.backends("10.96.0.10:80/TCP")


def test_a_restart_takes_away_what_is_gone_meanwhile(stage: Stage) -> None:
    again, fresh = stage.again(), Stage()
    for each in (again, fresh):
        each.start(service("web"), endpoints("web", *range(10, 20), here=range(10, 20)))
    assert "10.96.0.11 . tcp . 80" not in again.elements("frontends")
    assert again.in_force == fresh.in_force


def test_the_first_answer_is_everything_and_a_walk() -> None:
    services = Services(HERE)
    answer = services.update(Snapshot(), [])
    assert isinstance(answer, Walk)
    assert services.update(Snapshot(), []) == {}


def test_a_node_that_goes_is_no_place_any_more() -> None:
    stage = Stage(options=Options(Local("own")))
    stage.put(node(HERE, "192.168.77.1", cidrs=["10.244.0.0/16"]))
    assert (len(stage.elements("pod-cidrs")), len(stage.elements("nodeport-addresses"))) == (1, 1)
    stage.remove(node(HERE))
    assert (len(stage.elements("pod-cidrs")), len(stage.elements("nodeport-addresses"))) == (0, 0)


# How the kernel spells it


def test_the_names_of_services_reach_the_kernel() -> None:
    ports = [{"name": "http", "port": 80}]
    stage = Stage()
    stage.put(service("web", ports=ports))
    sent = stage.put(endpoints("web", 1, 2, port={"name": "http", "port": 8080}))
    assert '10.96.0.10 . tcp . 80 comment "default/web:http" : ' in str(sent)


def test_pod_cidrs_are_spelled_as_nft_lists_them(stage: Stage) -> None:
    stage.put(node("other", cidrs=["::102:300/120"]))
    assert stage.elements("pod-cidrs", "ip6") == {"::1.2.3.0/120": ""}


def test_a_node_whose_address_is_empty_is_a_node(stage: Stage) -> None:
    document = {
        "metadata": {"name": HERE},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": ""},
                {"type": "InternalIP", "address": "192.168.77.1"},
            ]
        },
    }
    stage.put(read(Node, document))
    assert ("ip", "podwire-proxy", "element", "nodeport-addresses", "192.168.77.1") in (
        stage.owner.in_force
    )
