"""Services as rows of socket programs' maps: what is there, what a change costs, what is left."""

from __future__ import annotations

from typing import Any

import pytest
from proxy_stage import HERE, Stage, endpoints, node, service, service_cidr, sticky
from socket_stage import SocketStage, counts

from podwire_core.family import Family
from podwire_core.nft.objects import Chain
from podwire_core.nft.packet import Packet
from podwire_core.nft.tracer import Ruleset, trace
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change as Told
from podwire_ebpf.records import EndpointKey, FrontendKey, Scope
from podwire_proxy.options import Options
from podwire_proxy.sockets import Reach, Room
from podwire_proxy.sockets.counters import Counters

VIP = "10.96.0.10:80/TCP"
GUARDED: dict[str, Any] = {"balancer": ["1.1.1.1"], "loadBalancerSourceRanges": ["192.168.0.0/16"]}


@pytest.fixture
def stage() -> SocketStage:
    return SocketStage()


@pytest.fixture
def hundred(stage: SocketStage) -> SocketStage:
    """A Service with a hundred endpoints, at three addresses and a NodePort."""
    stage.put(
        service("web", nodePort=30080, balancer=["1.1.1.1"], externalIPs=["2.2.2.2"]),
        endpoints("web", *range(100, 200)),
    )
    return stage


# What a change costs


def test_a_service_is_its_frontend_and_its_endpoints(stage: SocketStage) -> None:
    change = stage.put(service("web"), endpoints("web", 10, 11))
    assert counts(change) == {"+frontends": 1}, "the first sixteen stand in it"
    assert stage.answer(VIP) == {("10.244.0.10", 8080), ("10.244.0.11", 8080)}
    assert counts(stage.remove(service("web"))) == {"-frontends": 1}


def test_frontends_of_one_port_share_its_endpoints(hundred: SocketStage) -> None:
    assert len(hundred.plane.tables.frontends.rows) == 4
    assert len(hundred.plane.tables.endpoints.rows) == 100 - 16
    assert len({row.list for row in hundred.sockets.rows.values()}) == 1
    assert hundred.sockets.left == {}


def test_one_of_a_hundred_replaced_is_one_endpoint(hundred: SocketStage) -> None:
    assert counts(hundred.put(endpoints("web", *range(100, 199), 250))) == {"+endpoints": 1}


def test_one_of_the_first_sixteen_replaced_is_its_frontends(hundred: SocketStage) -> None:
    assert counts(hundred.put(endpoints("web", *range(101, 200), 250))) == {"+frontends": 4}


def test_one_more_is_one_endpoint_and_its_frontends(hundred: SocketStage) -> None:
    change = hundred.put(endpoints("web", *range(100, 201)))
    assert counts(change) == {"+endpoints": 1, "+frontends": 4}


def test_one_less_moves_one_endpoint(hundred: SocketStage) -> None:
    change = hundred.put(endpoints("web", *range(100, 150), *range(151, 200)))
    assert counts(change) == {"+endpoints": 1, "-endpoints": 1, "+frontends": 4}
    change = hundred.put(endpoints("web", *range(101, 150), *range(151, 200)))
    assert counts(change) == {"-endpoints": 1, "+frontends": 4}, "into the first sixteen"


def test_from_sixteen_to_seventeen_and_back(stage: SocketStage) -> None:
    stage.put(service("web"), endpoints("web", *range(16)))
    assert counts(stage.put(endpoints("web", *range(17)))) == {"+frontends": 1, "+endpoints": 1}
    assert len(stage.answer(VIP) or ()) == 17
    assert counts(stage.put(endpoints("web", *range(16)))) == {"+frontends": 1, "-endpoints": 1}


def test_the_last_one_that_goes_moves_none(hundred: SocketStage) -> None:
    change = hundred.put(endpoints("web", *range(100, 199)))
    assert counts(change) == {"-endpoints": 1, "+frontends": 4}


def test_members_are_written_for_clients_that_return_alone(stage: SocketStage) -> None:
    assert "+members" not in counts(stage.put(service("web"), endpoints("web", 10)))
    change = stage.put(sticky("two", "10.96.0.11", timeout=60), endpoints("two", 10, 11))
    assert counts(change) == {"+frontends": 1, "+members": 2}
    (row,) = (each for each in stage.sockets.rows.values() if each.affinity)
    assert row.affinity == 60
    assert counts(stage.put(endpoints("two", 10, 12))) == {
        "+frontends": 1, "+members": 1, "-members": 1,
    }  # fmt: skip


def test_members_of_udp_say_whose_conversations_go_on(stage: SocketStage) -> None:
    port = {"name": "", "port": 53, "protocol": "UDP"}
    change = stage.put(service("dns", protocol="UDP"), endpoints("dns", 10, 11, port=port))
    assert counts(change) == {"+frontends": 1, "+members": 2}
    ending = {"conditions": {"ready": False, "serving": True, "terminating": True}}
    change = stage.put(
        endpoints("dns", 11, port=port), endpoints("dns", 10, name="dns-2", port=port, **ending)
    )
    assert counts(change) == {"+frontends": 1, "+members": 1}
    told = {key.address: value.present for key, value in stage.plane.tables.members.rows.items()}
    assert told == {"10.244.0.10": 2, "10.244.0.11": 1}
    assert counts(stage.remove(endpoints("dns", 10, name="dns-2"))) == {"-members": 1}


def test_affinity_that_comes_and_goes_is_frontends_and_members(stage: SocketStage) -> None:
    stage.put(service("web"), endpoints("web", 10, 11))
    assert counts(stage.put(sticky("web"))) == {"+frontends": 1, "+members": 2}
    assert counts(stage.put(service("web"))) == {"+frontends": 1, "-members": 2}


def test_what_changes_nothing_costs_nothing(hundred: SocketStage) -> None:
    hundred.put(service("web", nodePort=30080, balancer=["1.1.1.1"], externalIPs=["2.2.2.2"]))
    hundred.put(endpoints("web", *reversed(range(100, 200))))
    assert not hundred.sockets.take()


# Who gets what


def test_no_endpoint_is_a_frontend_that_refuses(stage: SocketStage) -> None:
    assert counts(stage.put(service("web"))) == {"+frontends": 1}
    assert stage.answer(VIP) == frozenset()


def test_nodeports_of_both_families_are_told_apart(stage: SocketStage) -> None:
    both: dict[str, Any] = {"clusterIPs": ["10.96.0.10", "fd00:10:96::10"], "nodePort": 30080}
    stage.put(
        service("web", **both),
        endpoints("web", 10),
        endpoints("web", 10, family="IPv6", name="web-6"),
    )
    four, six = FrontendKey("0.0.0.0", 30080, 6), FrontendKey("::", 30080, 6)
    rows = stage.plane.tables.frontends.rows
    assert [rows[key].first for key in (four, six)] == [
        (("10.244.0.10", 8080),),
        (("fd00:10:244::a", 8080),),
    ]


def test_a_socket_of_this_node_is_in_the_cluster_where_the_policy_is_local(
    stage: SocketStage,
) -> None:
    stage.put(
        service("web", nodePort=30080, externalTrafficPolicy="Local"),
        endpoints("web", 10, 11, here=[10]),
    )
    assert stage.answer("node:30080/TCP") == stage.answer(VIP)
    assert len(stage.sockets.lists) == 1


def test_the_world_outside_gets_this_nodes_endpoints() -> None:
    stage = SocketStage(Reach(external=True, masquerade=1, by_source=2))
    stage.put(
        service("web", nodePort=30080, externalTrafficPolicy="Local"),
        endpoints("web", 10, 11, here=[10]),
        service("two", "10.96.0.11", nodePort=30081),
        endpoints("two", 12),
    )
    rows = stage.plane.tables.frontends.rows
    assert {key.scope for key in rows if key.port == 80} == {Scope.INSIDE}
    local = rows[FrontendKey("0.0.0.0", 30080, 6, Scope.OUTSIDE)]
    assert (local.count, local.flags) == (1, 2)
    assert rows[FrontendKey("0.0.0.0", 30081, 6, Scope.OUTSIDE)].flags == 1


def test_internal_traffic_policy_local_is_a_list_of_its_own(stage: SocketStage) -> None:
    stage.put(
        service("web", nodePort=30080, internalTrafficPolicy="Local"),
        endpoints("web", 10, 11, here=[10]),
    )
    assert stage.answer(VIP) == {("10.244.0.10", 8080)}
    assert stage.answer("node:30080/TCP") == {("10.244.0.10", 8080), ("10.244.0.11", 8080)}


# What is left to nftables


def test_what_sockets_would_answer_otherwise_is_left_with_a_reason() -> None:
    stage = SocketStage(Reach(masquerade_all=True, refuses=False))
    stage.put(
        service("sctp", "10.96.0.1", protocol="SCTP"),
        service("guarded", "10.96.0.2", **GUARDED),
        service("local", "10.96.0.3", internalTrafficPolicy="Local", nodePort=30080),
        endpoints("local", 10),
        service("empty", "10.96.0.4", nodePort=30081),
    )
    said = {str(frontend): why for frontend, why in stage.sockets.left.items()}
    assert said.keys() == {
        "10.96.0.1:80/SCTP", "10.96.0.2:80/TCP", "1.1.1.1:80/TCP", "10.96.0.3:80/TCP",
        "10.96.0.4:80/TCP", "node:30081/TCP",
    }  # fmt: skip
    assert said["1.1.1.1:80/TCP"].startswith("it has source ranges")
    assert said["10.96.0.4:80/TCP"].startswith("masqueradeAll")
    assert said["node:30081/TCP"].endswith("takes Linux 5.18")
    assert list(stage.sockets.rows) == [FrontendKey("0.0.0.0", 30080, 6)]


def test_a_policy_that_drops_is_left(stage: SocketStage) -> None:
    stage.put(service("local", internalTrafficPolicy="Local"), endpoints("local", 10))
    assert [str(each) for each in stage.sockets.left] == [VIP]
    assert stage.answer(VIP) is None
    assert counts(stage.put(endpoints("local", 10, here=[10]))) == {"+frontends": 1}
    assert stage.sockets.left == {}


def test_a_nodeport_does_not_answer_in_place_of_an_address_that_is_left(
    stage: SocketStage,
) -> None:
    stage.put(node("node1", "192.168.77.1"))
    stage.put(service("web", nodePort=8000), endpoints("web", 10))
    guarded = service(
        "guarded", "10.96.0.2", port=8000, **{**GUARDED, "balancer": ["192.168.77.1"]}
    )
    stage.put(guarded)
    assert stage.answer("node:8000/TCP") is None
    assert "which may be the node's" in stage.sockets.left[stage.frontend("node:8000/TCP")]
    stage.remove(guarded)
    assert stage.answer("node:8000/TCP")


def test_another_reach_is_taken_for_all_at_once(stage: SocketStage) -> None:
    stage.put(service("web"))
    stage.sockets.set_reach(Reach(refuses=False))
    assert counts(stage.take([])) == {"-frontends": 1}
    stage.sockets.set_reach(Reach(masquerade_all=Options().masquerade_all))
    assert counts(stage.take([])) == {"+frontends": 1}


def test_two_ports_of_one_label_with_other_endpoints_do_not_mix(stage: SocketStage) -> None:
    ports = [{"port": 80}, {"port": 81, "name": "80"}]
    stage.put(service("web", ports=ports), endpoints("web", 10),
              endpoints("web", 11, name="b", port={"name": "80", "port": 9}))  # fmt: skip
    answers = [stage.answer(each) for each in (VIP, "10.96.0.10:81/TCP")]
    assert answers == [{("10.244.0.10", 8080)}, None]
    assert len(stage.sockets.left) == 1


def test_an_endpoint_in_a_service_cidr_would_not_be_answered(stage: SocketStage) -> None:
    stage.put(service("web"), endpoints("web", 10), service("two", "10.96.0.11"))
    stage.put(service_cidr("wide", "10.0.0.0/8"))
    assert stage.answer(VIP) is None
    (why,) = stage.sockets.left.values()
    assert why == "an endpoint is in a ServiceCIDR, where nothing but Services is answered"
    stage.remove(service_cidr("wide"))
    assert stage.answer(VIP)


# Room


def test_a_list_without_room_is_left_and_comes_when_there_is() -> None:
    stage = SocketStage(room=Room(endpoints=3))
    stage.put(service("a", "10.96.0.1"), endpoints("a", *range(18)))
    stage.put(service("b", "10.96.0.2"), endpoints("b", *range(18)))
    assert stage.answer("10.96.0.2:80/TCP") is None
    (why,) = stage.sockets.left.values()
    assert why == "the map endpoints has no room for it"
    assert stage.sockets.crowded == 1
    stage.put(endpoints("a", 1))
    assert stage.answer("10.96.0.2:80/TCP")
    assert stage.sockets.left == {}


def test_a_list_that_outgrows_the_map_goes_whole() -> None:
    stage = SocketStage(room=Room(endpoints=3))
    stage.put(service("a", "10.96.0.1"), endpoints("a", *range(19)))
    change = stage.put(endpoints("a", *range(20)))
    assert counts(change) == {"-frontends": 1, "-endpoints": 3}
    assert stage.plane.tables.endpoints.rows == {}


def test_frontends_without_room_are_left() -> None:
    stage = SocketStage(room=Room(frontends=1))
    stage.put(service("a", "10.96.0.1"), service("b", "10.96.0.2"))
    assert len(stage.sockets.rows) == len(stage.sockets.left) == 1
    held = next(iter(stage.sockets.rows))
    stage.remove(service("a" if held.address == "10.96.0.1" else "b"))
    assert len(stage.sockets.rows) == 1
    assert not stage.sockets.left


# Over a restart


def test_a_restart_writes_nothing(hundred: SocketStage) -> None:
    hundred.put(endpoints("web", *range(100, 150), *range(170, 200)))
    before = dict(hundred.plane.tables.endpoints.rows)
    assert not hundred.again()
    assert hundred.plane.tables.endpoints.rows == before


def test_what_comes_while_nobody_looked_is_the_difference(hundred: SocketStage) -> None:
    hundred.tell([])
    new = endpoints("web", *range(100, 199), 250)
    hundred.snapshot.apply(_told(new))
    assert counts(hundred.again()) == {"+endpoints": 1}


def test_strays_in_the_maps_go(hundred: SocketStage) -> None:
    tables = hundred.plane.tables
    number = next(iter(tables.frontends.rows.values())).list
    endpoint = tables.endpoints.rows[EndpointKey(number, 16)]
    tables.endpoints.rows[EndpointKey(number, 200)] = endpoint
    tables.endpoints.rows[EndpointKey(7, 16)] = endpoint
    tables.endpoints.rows[EndpointKey(number, 3)] = endpoint
    tables.frontends.rows[FrontendKey("9.9.9.9", 9, 6)] = tables.frontends.rows[
        FrontendKey("1.1.1.1", 80, 6)
    ]
    assert counts(hundred.again()) == {"-endpoints": 3, "-frontends": 1}


def test_a_change_that_was_refused_is_left_to_nftables(hundred: SocketStage) -> None:
    hundred.put(service("other", "10.96.0.11"), endpoints("other", 1))
    hundred.tell([_told(endpoints("web", *range(101, 200)))])
    hundred.plane.apply(hundred.sockets.retreat(hundred.sockets.take()))
    assert hundred.answer(VIP) is None
    assert hundred.answer("10.96.0.11:80/TCP")
    assert hundred.again()
    assert len(hundred.answer(VIP) or ()) == 99


def test_numbers_of_counters_are_given_back_and_not_given_again_at_once() -> None:
    counters = Counters(4)
    assert [counters.take() for _ in range(4)] == [1, 2, 3, 0]
    counters.give_back(2)
    counters.give_back(1)
    assert [counters.adopt(3), counters.take(), counters.take()] == [1, 2, 0]


def _told(each: KubernetesObject) -> Told:
    return Told(type(each), each.name, each)


# What programs at uplinks leave to nftables


@pytest.mark.parametrize(
    ("mark", "source", "masqueraded"),
    [
        (0x10000000, "192.168.77.9", True),
        (0x10000001, "192.168.77.9", True),
        (0x20000000, "192.168.77.9", False),
        (0x10000000, "192.168.77.1", False),  # the overlay's packet around it
    ],
)
def test_what_programs_at_uplinks_marked_is_masqueraded(
    mark: int, source: str, masqueraded: bool
) -> None:
    stage = Stage(options=Options(masquerade_mark=0x10000000))
    stage.put(node(HERE, "192.168.77.1"))
    rules = Ruleset(stage.services.wanted.values(), ["192.168.77.1"])
    packet = Packet(Family.IPV4, source, "10.244.0.9", "tcp", 8080, packet_mark=mark, iif="eth0")
    (way,) = trace(rules, packet)
    assert way.packet.masqueraded == masqueraded


def test_no_mark_is_looked_at_where_no_programs_set_it() -> None:
    stage = Stage()
    stage.put(node(HERE, "192.168.77.1"))
    chains = [each for each in stage.services.wanted.values() if isinstance(each, Chain)]
    assert not any("mark" in rule.text for each in chains for rule in each.rules)
