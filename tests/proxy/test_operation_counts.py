"""What each change costs: the commands of its transaction, as promises."""

from __future__ import annotations

from typing import Any

import pytest
from proxy_stage import HERE, Stage, endpoints, node, service, service_cidr, sticky

from podwire_core.nft.transaction import Transaction
from podwire_core.objects import Service
from podwire_proxy.chains import STANDING

NONE: dict[str, int] = {}
OUTSIDE: dict[str, Any] = {"nodePort": 30000, "balancer": ["1.1.1.1"], "externalIPs": ["2.2.2.2"]}
GUARDED: dict[str, Any] = {
    "balancer": ["1.1.2.5"],
    "loadBalancerSourceRanges": ["192.168.0.0/16"],
}
READY, GONE = {"ready": True}, {"ready": False}


def counts(sent: Transaction) -> dict[str, int]:
    """`{"+element": 2, "-chain": 1, "flush chain": 1}`."""
    signs = {"add": "+", "delete": "-", "flush": "flush "}
    return {f"{signs[verb]}{noun}": n for (verb, noun), n in sent.counts().items()}


@pytest.fixture
def stage() -> Stage:
    """Others use chains for one to three endpoints already, source ranges and affinity."""
    made = Stage()
    made.put(node(HERE, "192.168.77.1", cidrs=["10.244.0.0/16"]))
    for number in (1, 2, 3):
        name = f"other-{number}"
        spec = {**OUTSIDE, "nodePort": 31000 + number}
        spec |= {"balancer": [f"1.1.2.{number}"], "externalIPs": []}
        made.put(service(name, f"10.96.1.{number}", **spec), endpoints(name, *range(1, number + 1)))
    made.put(sticky("other-4", "10.96.1.4"), service("other-5", "10.96.1.5", **GUARDED))
    return made


@pytest.fixture
def hundred(stage: Stage) -> Stage:
    """A Service with a hundred endpoints, of which ten are here."""
    stage.put(service("web"), endpoints("web", *range(100, 200), here=range(100, 110)))
    return stage


# A Service comes and grows


def test_a_service_without_endpoints_is_two_elements(stage: Stage) -> None:
    sent = stage.put(service("web"))
    assert counts(sent) == {"+element": 2}  # cluster-ips, unavailable


def test_the_first_endpoint_turns_a_refusal_into_a_way(stage: Stage) -> None:
    stage.put(service("web"))
    sent = stage.put(endpoints("web", 9))
    assert counts(sent) == {"-element": 1, "+element": 2}  # the refusal; its verdict, its slot


def test_a_second_endpoint_is_a_slot_and_another_verdict(stage: Stage) -> None:
    stage.put(service("web"), endpoints("web", 9))
    sent = stage.put(endpoints("web", 9, 10))
    assert counts(sent) == {"-element": 1, "+element": 2}


def test_an_endpoint_of_this_node_is_an_element_more(stage: Stage) -> None:
    stage.put(service("web"), endpoints("web", 9))
    sent = stage.put(endpoints("web", 9, 10, here=[10]))
    assert counts(sent) == {"-element": 1, "+element": 3}  # it may reach itself


def test_the_last_endpoint_that_goes_turns_the_way_into_a_refusal(stage: Stage) -> None:
    stage.put(service("web"), endpoints("web", 9))
    assert counts(stage.put(endpoints("web"))) == {"-element": 2, "+element": 1}
    assert counts(stage.remove(service("web"))) == {"-element": 2}


def test_a_whole_service_at_once_is_its_elements(stage: Stage) -> None:
    sent = stage.put(service("web"), endpoints("web", 9, 10, 11))
    assert counts(sent) == {"+element": 5}  # cluster-ips, a verdict, three slots
    gone = stage.remove(service("web"), endpoints("web"))
    assert counts(gone) == {"-element": 5}


def test_the_first_service_of_a_size_makes_the_chain_and_the_last_takes_it_away(
    stage: Stage,
) -> None:
    many = range(50, 70)
    sent = stage.put(service("web"), endpoints("web", *many))
    assert counts(sent) == {"+chain": 1, "+rule": 1, "+element": 22 + 1}  # the chain's number
    sent = stage.put(service("two", "10.96.0.11"), endpoints("two", *many))
    assert counts(sent) == {"+element": 22}
    assert counts(stage.remove(service("two"))) == {"-element": 22}
    assert counts(stage.remove(service("web"))) == {
        "-element": 22 + 1,
        "flush chain": 1,
        "-chain": 1,
    }


def test_small_services_find_their_chains_made() -> None:
    stage = Stage()
    stage.put()
    for count in range(1, STANDING + 1):
        sent = stage.put(service("web"), endpoints("web", *range(count)))
        assert "+chain" not in counts(sent)
        assert "-chain" not in counts(sent)


# An endpoint changes


def test_one_of_a_hundred_replaced_is_its_slot(hundred: Stage) -> None:
    sent = hundred.put(endpoints("web", *range(100, 199), 250, here=range(100, 110)))
    assert counts(sent) == {"-element": 1, "+element": 1}


def test_one_of_a_hundred_replaced_here_is_its_slot_and_its_hairpin(hundred: Stage) -> None:
    sent = hundred.put(endpoints("web", *range(101, 200), 250, here=[*range(101, 110), 250]))
    assert counts(sent) == {"-element": 2, "+element": 2}


def test_an_endpoint_that_is_not_ready_moves_one_other(hundred: Stage) -> None:
    hundred.put(service("two", "10.96.0.11"), endpoints("two", *range(99)))  # has choose-99
    sent = hundred.put(endpoints("web", *range(101, 200)), endpoints("web", 100, name="b"))
    assert sent.counts().get(("add", "chain")) is None, "100 are still ready"
    sent = hundred.put(endpoints("web", 100, name="b", conditions=GONE))
    assert counts(sent) == {
        "-element": 4,  # the way, the slot that the last one takes, the last slot, and …
        "+element": 2,
        "flush chain": 1,  # … choose-100 with its number, which no other Service has
        "-chain": 1,
    }
    sent = hundred.put(endpoints("web", 100, name="b", conditions=READY))
    assert counts(sent) == {"+chain": 1, "+rule": 1, "-element": 1, "+element": 3}


def test_a_flip_of_what_is_not_asked_sends_nothing(hundred: Stage) -> None:
    hundred.put(endpoints("web", 300, name="b", conditions=GONE))
    serving = {"ready": False, "serving": True}
    assert counts(hundred.put(endpoints("web", 300, name="b", conditions=serving))) == NONE
    assert counts(hundred.put(endpoints("web", 300, name="b"))) != NONE


def test_all_endpoints_that_end_at_once_stay(hundred: Stage) -> None:
    ending = {"ready": False, "serving": True, "terminating": True}
    everyone = range(100, 200)
    sent = hundred.put(endpoints("web", *everyone, here=range(100, 110), conditions=ending))
    assert counts(sent) == NONE


def test_an_endpoint_that_moves_to_another_slice_sends_nothing(hundred: Stage) -> None:
    sent = hundred.put(endpoints("web", *range(100, 199), here=range(100, 110)),
                       endpoints("web", 199, name="web-2"))  # fmt: skip
    assert counts(sent) == NONE


def test_slices_that_come_in_another_order_send_nothing(stage: Stage) -> None:
    first, second = endpoints("web", 1, 2), endpoints("web", 3, name="web-2")
    stage.put(service("web"), first, second)
    stage.remove(first)
    stage.remove(second)
    stage.put(second)
    stage.put(first)
    assert counts(stage.put(second, first)) == NONE


# A sticky Service costs little more


def test_a_sticky_service_of_a_hundred_is_the_same_and_its_member(stage: Stage) -> None:
    stage.put(sticky("web"), endpoints("web", *range(100, 200)))
    sent = stage.put(endpoints("web", *range(100, 199), 250))
    assert counts(sent) == {"-element": 2, "+element": 2}


def test_a_sticky_service_has_two_chains_of_its_own(stage: Stage) -> None:
    assert counts(stage.put(sticky("web"))) == {"+element": 2}
    sent = stage.put(endpoints("web", 9))
    assert counts(sent) == {
        "+chain": 2,  # keep, remember
        "+rule": 3,
        "-element": 1,
        "+element": 4,  # its verdict, its slot, its member, and who remembers
    }
    sent = stage.put(endpoints("web", 9, 10))
    assert counts(sent) == {"flush chain": 1, "+rule": 2, "+element": 2}  # keep goes elsewhere
    sent = stage.put(endpoints("web"))
    assert counts(sent) == {"-element": 6, "+element": 1, "flush chain": 2, "-chain": 2}


@pytest.mark.parametrize(
    ("each", "chains"),
    [
        (sticky("web"), {"chosen", "remember"}),
        (service("web", **GUARDED), {"guard-prerouting", "guard-output"}),
    ],
)
def test_chains_that_cost_every_packet_are_there_while_some_service_asks(
    each: Service, chains: set[str]
) -> None:
    stage = Stage()
    stage.put(service("web"))
    before = stage.in_force
    assert not chains & stage.names("chain")
    stage.put(each)
    assert chains <= stage.names("chain")
    assert not chains & stage.names("chain", "ip6"), "in its own family alone"
    stage.put(service("web"))
    assert stage.in_force == before


# A Service with many addresses


def test_every_address_costs_the_same(stage: Stage) -> None:
    sent = stage.put(service("web", **OUTSIDE))
    assert counts(sent) == {"+element": 2 * 4}  # three are external, one is in cluster-ips
    assert counts(stage.put(endpoints("web", 9))) == {"-element": 4, "+element": 2 * 4}
    assert counts(stage.put(endpoints("web", 9, 10))) == {"-element": 4, "+element": 2 * 4}
    assert counts(stage.put(endpoints("web", 9, 11))) == {"-element": 4, "+element": 4}


def test_source_ranges_are_a_set_and_a_chain_that_equal_ones_share(stage: Stage) -> None:
    stage.put(service("web", balancer=["1.1.1.1"]), service("two", "10.96.0.11"))
    ranges = ["10.0.0.0/8", "172.16.0.0/12"]
    sent = stage.put(service("web", balancer=["1.1.1.1"], loadBalancerSourceRanges=ranges))
    assert counts(sent) == {"+set": 1, "+chain": 1, "+rule": 2, "+element": 3}
    sent = stage.put(
        service("two", "10.96.0.11", balancer=["1.1.1.2"], loadBalancerSourceRanges=ranges)
    )
    assert counts(sent) == {"+element": 3}  # refused for now, external, guarded
    sent = stage.put(service("web", balancer=["1.1.1.1"], loadBalancerSourceRanges=ranges[:1]))
    assert counts(sent) == {"+set": 1, "+chain": 1, "+rule": 2, "-element": 1, "+element": 2}
    stage.put(service("two", "10.96.0.11"))
    assert len([name for name in stage.names("set") if name.startswith("sources-")]) == 2


def test_a_traffic_policy_changes_verdicts(stage: Stage) -> None:
    stage.put(service("web", nodePort=30000), endpoints("web", 9, 10, here=[9]))
    sent = stage.put(service("web", nodePort=30000, externalTrafficPolicy="Local"))
    assert counts(sent) == {
        "+chain": 2,  # nodeport-choose-local-1, nodeport-local-1-of-2
        "+rule": 4,
        "-element": 2,  # the verdict, and who is masqueraded
        "+element": 4,  # the same, the slot of the list of this node, and a chain's number
    }


# What costs nothing, and what a node's own changes cost


@pytest.mark.parametrize("made", [service, sticky])
def test_the_same_again_sends_nothing(stage: Stage, made: Any) -> None:
    objects = [made("web", **OUTSIDE), endpoints("web", 9, 10)]
    stage.put(*objects)
    assert counts(stage.put(*objects)) == NONE
    assert counts(stage.take([])) == NONE


@pytest.mark.parametrize(
    ("promise", "spec"),
    [
        ("labels", {"labels": {"app": "web"}}),
        ("a selector", {"selector": {"app": "web"}}),
        ("a type alone", {"type": "NodePort"}),
        ("a targetPort", {"ports": [{"port": 80, "targetPort": 8080}]}),
        ("a policy that says the default", {"internalTrafficPolicy": "Cluster"}),
        ("families", {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}),
        ("a timeout that no one asks for", {"sessionAffinityConfig": {"clientIP": {}}}),
        ("a health check's port", {"healthCheckNodePort": 32000}),
        ("ranges without a balancer", {"loadBalancerSourceRanges": ["10.0.0.0/8"]}),
        ("publishNotReadyAddresses", {"publishNotReadyAddresses": True}),
        ("trafficDistribution", {"trafficDistribution": "PreferSameZone"}),
    ],
)
def test_what_the_kernel_need_not_know_sends_nothing(
    stage: Stage, promise: str, spec: dict[str, Any]
) -> None:
    stage.put(service("web"), endpoints("web", 9))
    assert counts(stage.put(service("web", **spec))) == NONE, promise


def test_a_label_that_gives_a_service_to_another_proxy_takes_it_away_and_back(stage: Stage) -> None:
    stage.put(service("web"), endpoints("web", 9))
    labels = {"service.kubernetes.io/service-proxy-name": "other"}
    assert counts(stage.put(service("web", labels=labels))) == {"-element": 3}
    assert counts(stage.put(service("web"))) == {"+element": 3}


def test_a_port_s_new_name_is_a_new_comment(stage: Stage) -> None:
    port = {"name": "http", "port": 8080}
    stage.put(service("web"), endpoints("web", 9), endpoints("web", 9, name="b", port=port))
    sent = stage.put(service("web", ports=[{"port": 80, "name": "http"}]))
    assert counts(sent) == {"-element": 1, "+element": 1}
    assert 'comment "default/web:http"' in str(sent)


def test_pods_of_a_node_that_comes_are_an_element(stage: Stage) -> None:
    sent = stage.put(node("elsewhere", cidrs=["10.245.3.0/24"]))
    assert counts(sent) == {"+element": 1}
    assert counts(stage.remove(node("elsewhere"))) == {"-element": 1}


def test_the_first_pods_that_are_known_rewrite_the_chains_that_ask_who_is_one() -> None:
    stage = Stage()
    spec = {**OUTSIDE, "externalTrafficPolicy": "Local"}
    stage.put(service("web", **spec), endpoints("web", 9, 10, here=[9]), node(HERE))
    sent = stage.put(node(HERE, cidrs=["10.244.0.0/16"]))
    assert counts(sent) == {
        "flush chain": 3,  # who is masqueraded, and who dials, at NodePorts and elsewhere
        "+rule": 1 + 3 + 3,
        "+element": 1,
    }
    assert counts(stage.put(node(HERE)))["-element"] == 1


def test_a_zone_that_comes_moves_only_services_with_hints(stage: Stage) -> None:
    here: dict[str, Any] = {"hints": {"forZones": [{"name": "a"}]}}
    there: dict[str, Any] = {"hints": {"forZones": [{"name": "b"}]}}
    stage.put(service("web"), endpoints("web", 9, **here), endpoints("web", 95, name="b", **there))
    zoned = node(HERE, "192.168.77.1", cidrs=["10.244.0.0/16"], zone="a")
    assert counts(stage.put(zoned)) == {"-element": 2, "+element": 1}
    assert stage.backends("10.96.0.10:80/TCP") == ("10.244.0.9",)


def test_a_node_s_address_is_an_element(stage: Stage) -> None:
    sent = stage.put(node(HERE, "192.168.77.2", cidrs=["10.244.0.0/16"]))
    assert counts(sent) == {"-element": 1, "+element": 1}


def test_a_service_cidr_is_an_element(stage: Stage) -> None:
    assert counts(stage.put(service_cidr("kubernetes", "10.96.0.0/16"))) == {"+element": 1}
    sent = stage.put(service_cidr("kubernetes", "10.96.0.0/15"))
    assert counts(sent) == {"-element": 1, "+element": 1}
    assert counts(stage.remove(service_cidr("kubernetes"))) == {"-element": 1}


def test_two_services_that_change_names_at_once_send_what_differs(stage: Stage) -> None:
    stage.put(service("web"), service("two", "10.96.0.11"))
    stage.put(endpoints("web", 9), endpoints("two", 9))
    sent = stage.put(service("web", "10.96.0.11"), service("two"))
    assert counts(sent) == {"-element": 2, "+element": 2}  # the comments of two verdicts


def test_many_changes_at_once_are_one_transaction(stage: Stage) -> None:
    stage.put(*(service(f"s-{n}", f"10.96.2.{n}") for n in range(1, 101)))
    commits = stage.owner.commits
    sent = stage.put(*(endpoints(f"s-{n}", 9, 10, 11) for n in range(1, 101)))
    assert counts(sent) == {"-element": 100, "+element": 400}
    assert stage.owner.commits == commits + 1
