"""Which connections a question is about."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import small_shop
from small_shop import address

from podwire_core.snapshot import Snapshot
from podwire_node.explain.flows import MAX_FLOWS, Flows, flows_of
from podwire_node.explain.question import QuestionError, parse
from podwire_policy.oracle import Judge


def asked(snapshot: Snapshot, *words: str) -> Flows:
    return flows_of(snapshot, Judge(snapshot).owner, parse(*words))


def ways(found: Flows) -> list[tuple[str, str, str]]:
    """Source, destination with port and protocol, what was dialled."""
    return [
        (each.source, f"{each.destination} {each.port}/{each.protocol}", each.dialled)
        for each in found.flows
    ]


def without(*kinds_and_names: str) -> Snapshot:
    rows = [
        row
        for row in small_shop.documents()
        if f"{row['kind']} {row['metadata']['name']}" not in kinds_and_names
    ]
    return small_shop.snapshot(rows)


def test_two_pods_talk_over_each_family_that_both_have() -> None:
    found = asked(small_shop.snapshot(), "shop/web", "shop/api-1:8080")
    assert ways(found) == [
        (address("shop/web"), f"{address('shop/api-1')} 8080/TCP", ""),
        (address("shop/web", 6), f"{address('shop/api-1', 6)} 8080/TCP", ""),
    ]


def test_a_service_is_its_endpoints_behind_the_address_that_is_dialled() -> None:
    found = asked(small_shop.snapshot(), "shop/web", "shop/api:80")
    assert ways(found)[0] == (
        address("shop/web"),
        f"{address('shop/api-1')} 8080/TCP",
        "Service shop/api 10.96.0.13:80",
    )
    assert {each.dialled for each in found.flows} == {
        "Service shop/api 10.96.0.13:80",
        "Service shop/api [fd00:10:96::13]:80",
    }
    assert len(found.flows) == 4


def test_a_services_address_is_the_service() -> None:
    by_name = asked(small_shop.snapshot(), "shop/web", "shop/api:http")
    by_address = asked(small_shop.snapshot(), "shop/web", f"{small_shop.CLUSTER_IPS[0]}:80")
    assert ways(by_address) == ways(by_name)[:2]


def test_without_a_port_every_declared_port_is_judged() -> None:
    found = asked(small_shop.snapshot(), small_shop.OUTSIDE, "data/db")
    assert [(each.port, each.protocol) for each in found.flows] == [(5432, "TCP"), (9, "UDP")]
    found = asked(small_shop.snapshot(), small_shop.OUTSIDE, "data/db", "udp")
    assert [(each.port, each.protocol) for each in found.flows] == [(9, "UDP")]


def test_a_deployments_name_stands_for_one_of_its_pods() -> None:
    snapshot = without("Service api")
    found = asked(snapshot, "shop/web", "shop/api:http")
    assert found.flows[0].destination == address("shop/api-1")
    assert found.notes == ("shop/api is taken for pod shop/api-1, one of 2",)


def test_where_a_pod_and_a_service_have_one_name_the_pod_is_meant_and_that_is_said() -> None:
    rows = small_shop.documents()
    api = next(row for row in rows if row["metadata"]["name"] == "api-1")
    api["metadata"]["name"] = "api"
    found = asked(small_shop.snapshot(rows), "shop/cron", "shop/api:80")
    assert found.flows[0].dialled == ""
    assert found.notes == (
        "shop/api is taken for the pod; dial 10.96.0.13 for the Service of that name",
    )


def test_a_pod_whose_address_is_another_pods_cannot_talk() -> None:
    rows = small_shop.documents()
    web = next(row for row in rows if row["metadata"]["name"] == "web")
    rows.append(web | {"metadata": {"name": "zombie", "namespace": "shop"}})
    with pytest.raises(
        QuestionError, match="shop/zombie cannot talk: its address is another pod's"
    ):
        asked(small_shop.snapshot(rows), "shop/zombie", "shop/web:80")


def test_many_endpoints_are_cut_and_that_is_said() -> None:
    rows = small_shop.documents()
    last = next(row for row in rows if row["metadata"]["name"] == "api-v4")
    last["endpoints"] = [{"addresses": [f"10.245.0.{n}"]} for n in range(1, 251)]
    found = asked(small_shop.snapshot(rows), "shop/web", "shop/api:80")
    assert len(found.flows) == MAX_FLOWS
    assert "these are the first 200" in found.notes[0]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("shop/wep", "shop/api"), "there is no pod shop/wep: did you mean shop/web?"),
        (
            ("shop/web", "shop/abi"),
            "there is no pod and no Service shop/abi: did you mean shop/api",
        ),
        (
            ("shop/web", "shop/cron"),
            "pod shop/cron declares no port: write its number behind it, shop/cron:80",
        ),
        (("shop/web", "data/db:mysql"), "pod data/db declares no port 'mysql'"),
        (("shop/web", "shop/api:81"), "Service shop/api has no port 81: it has http 80/TCP"),
        (("shop/web", "shop/api:80", "udp"), "has no port 80/UDP: it has http 80/TCP"),
        (("10.0.0.1", "[fd00::1]:80"), "10.0.0.1 and fd00::1 share no family"),
        (
            ("10.0.0.1", "10.0.0.2"),
            "10.0.0.2 declares no port: write its number behind it, 10.0.0.2:80",
        ),
        (
            ("10.0.0.1", "fd00::1:80"),
            "declares no port: write its number behind it, [fd00::1:80]:80",
        ),
    ],
)
def test_what_cannot_be_judged_says_what_is_missing(words: Sequence[str], sentence: str) -> None:
    with pytest.raises(QuestionError) as caught:
        asked(small_shop.snapshot(), *words)
    assert sentence in str(caught.value)


def test_a_service_without_endpoints_is_refused_whatever_policies_say() -> None:
    with pytest.raises(QuestionError, match="has no endpoint for shop/web"):
        asked(without("EndpointSlice api-v4", "EndpointSlice api-v6"), "shop/web", "shop/api")


def test_a_headless_service_is_its_endpoints_under_their_own_addresses() -> None:
    rows = small_shop.documents()
    service = next(row for row in rows if row["kind"] == "Service")
    service["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    found = asked(small_shop.snapshot(rows), "shop/web", "shop/api:80")
    assert len(found.flows) == 4
    assert {each.dialled for each in found.flows} == {"Service shop/api without an address"}


def test_a_pod_in_its_nodes_network_talks_by_the_nodes_addresses() -> None:
    rows = small_shop.documents()
    cron = next(row for row in rows if row["metadata"]["name"] == "cron")
    cron["spec"]["hostNetwork"] = True
    found = asked(small_shop.snapshot(rows), "shop/cron", "shop/api-1:80")
    assert [each.source for each in found.flows] == ["192.168.77.1", "fd00:77::1"]


def test_of_several_pods_of_one_name_that_of_this_node_is_taken() -> None:
    rows = [row for row in small_shop.documents() if row["kind"] != "Service"]
    second = next(row for row in rows if row["metadata"]["name"] == "api-2")
    second["spec"]["nodeName"] = "node1"
    snapshot = small_shop.snapshot(rows)
    found = flows_of(snapshot, Judge(snapshot).owner, parse("shop/web", "shop/api:80"), "node1")
    assert found.flows[0].destination == address("shop/api-2")


def test_an_agent_that_reads_no_services_says_so() -> None:
    rows = [row for row in small_shop.documents() if row["kind"] != "Service"]
    with pytest.raises(QuestionError, match="; no Service is known to this agent"):
        asked(small_shop.snapshot(rows), "shop/web", "shop/nothing:80")


def with_node_port(**fields: object) -> Snapshot:
    rows = small_shop.documents()
    for row in rows:
        if row["kind"] == "Service":
            row["spec"]["ports"][0]["nodePort"] = 30080
            row["spec"].update(fields)
    return small_shop.snapshot(rows)


def seen(found: Flows) -> list[tuple[str, str, tuple[str, int]]]:
    """Endpoint, whom it sees, what its client's node sees."""
    return [(each.destination, each.seen_as or each.source, each.through) for each in found.flows]


def test_endpoints_see_the_address_of_the_node_that_was_dialled_unless_they_are_on_it() -> None:
    ends = [address(f"shop/{name}") for name in ("api-1", "api-2")]  # both on node2
    for node, source in (("192.168.77.1", "192.168.77.1"), ("192.168.77.2", "203.0.113.9")):
        found = asked(with_node_port(), "203.0.113.9", f"{node}:30080")
        assert seen(found) == [(end, source, (node, 30080)) for end in ends]
        assert {each.dialled for each in found.flows} == {f"Service shop/api {node}:30080"}


def test_a_pod_that_dials_its_own_node_is_translated_before_its_policies_judge() -> None:
    home = small_shop.PODS["shop/web"][0]
    found = asked(with_node_port(), "shop/web", f"192.168.77.{home[-1]}:30080")
    assert {each.through for each in found.flows} == {("", 0)}


def test_the_world_gets_by_a_local_nodes_port_the_endpoints_of_that_node_alone() -> None:
    snapshot = with_node_port(externalTrafficPolicy="Local")
    found = asked(snapshot, "203.0.113.9", "192.168.77.2:30080")
    assert {each.seen_as for each in found.flows} == {""}
    with pytest.raises(QuestionError, match="Service shop/api has no endpoint on node1"):
        asked(snapshot, "203.0.113.9", "192.168.77.1:30080")


def test_who_is_no_pod_hears_that_a_node_may_stand_in_its_place() -> None:
    (note,) = asked(small_shop.snapshot(), "203.0.113.9", "shop/api:80").notes
    assert "puts its own address in its place" in note
