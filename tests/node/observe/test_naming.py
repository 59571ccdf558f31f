"""A record has Hubble's fields, names pods, and says who denied and what came closest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from drop_site import (
    CHAIN,
    DB,
    DB6,
    FRONTEND,
    FRONTEND6,
    NODE2,
    WORLD,
    ground,
    logged,
    made,
    ports,
    snapshot,
    tcp,
)
from drop_site import packet as ip
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.objects import NetworkPolicy, ObjectName, PolicyType
from podwire_core.snapshot import Change
from podwire_node.observe.cut import turned
from podwire_node.observe.naming import MAX_POLICIES, Ground, make
from podwire_node.observe.record import Record
from podwire_policy.oracle import Judge
from podwire_policy.reasons import Kind, PolicyName, Reason

EVERYTHING = ground()


def record(payload: bytes, prefix: str = CHAIN, **reasons: Reason) -> Record:
    found = make(logged(payload, prefix), ground(**reasons) if reasons else EVERYTHING)
    assert found is not None
    return found


def test_a_record_is_a_flow_of_hubble() -> None:
    found: dict[str, Any] = msgspec.to_builtins(record(ip(FRONTEND, DB, 6, tcp(41320, 5432))))
    miss = "shop/db ingress[0] allows port 5432/TCP from app=api, but the source is shop/frontend"
    assert miss in found.pop("nearest_miss")
    assert found == {
        "time": "2023-11-14T22:13:20.250000Z",
        "verdict": "DROPPED",
        "drop_reason": 133,
        "drop_reason_desc": "POLICY_DENIED",
        "IP": {"source": FRONTEND, "destination": DB, "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 41320, "destination_port": 5432, "flags": {"SYN": True}}},
        "source": {
            "namespace": "shop",
            "labels": ("k8s:app=frontend",),
            "pod_name": "frontend",
        },
        "destination": {"namespace": "shop", "labels": ("k8s:app=db",), "pod_name": "db"},
        "Type": "L3_L4",
        "node_name": "node2",
        "event_type": {"type": 1, "sub_type": 133},
        "traffic_direction": "INGRESS",
        "ingress_denied_by": ({"name": "db", "namespace": "shop", "kind": "NetworkPolicy"},),
        "Summary": "TCP Flags: SYN",
        "kind": "isolated",
        "reason": "NetworkPolicy shop/db isolates pod shop/db for ingress and does not allow it",
        "chain": CHAIN,
    }


@pytest.mark.parametrize(
    ("pair", "protocol", "rest", "l4", "summary"),
    [
        ((FRONTEND, DB), 17, ports(9, 53), {"UDP": (9, 53)}, "UDP"),
        ((FRONTEND6, DB6), 132, ports(9, 80), {"SCTP": (9, 80)}, "SCTP"),
        ((FRONTEND, DB), 1, b"\x08\x00", {"ICMPv4": (8, 0)}, "ICMPv4 EchoRequest"),
        ((FRONTEND6, DB6), 58, b"\x80\x00", {"ICMPv6": (128, 0)}, "ICMPv6 EchoRequest"),
        ((FRONTEND, DB), 1, b"\x0d\x01", {"ICMPv4": (13, 1)}, "ICMPv4 type 13 code 1"),
        ((FRONTEND, DB), 6, tcp(9, 80, 0x12), {"TCP": (9, 80)}, "TCP Flags: SYN, ACK"),
        ((FRONTEND, DB), 47, b"", {}, "IP protocol 47"),
    ],
)
def test_each_protocol_has_its_words(
    pair: tuple[str, str], protocol: int, rest: bytes, l4: dict[str, Any], summary: str
) -> None:
    found = record(ip(*pair, protocol, rest))
    layer: dict[str, Any] = msgspec.to_builtins(found.l4) if found.l4 else {}
    assert {name: tuple(each.values())[:2] for name, each in layer.items()} == l4
    assert found.summary == summary
    assert "shop/db ingress[0] allows port 5432/TCP" in found.nearest_miss


def test_who_is_no_pod_has_a_label_that_says_so() -> None:
    for address, label in (
        (NODE2, "host"),
        ("192.168.7.1", "remote-node"),
        ("10.244.1.77", "unmanaged"),
        (WORLD, "world"),
    ):
        found = record(ip(address, DB, 17, ports(1, 2)))
        assert found.source.labels == (f"reserved:{label}",)
        assert not found.source.pod_name


def test_a_cluster_policys_rule_is_the_reason() -> None:
    rule = 'ClusterNetworkPolicy lock egress[2] "no metadata"'
    lock = PolicyName("ClusterNetworkPolicy", ObjectName("", "lock"))
    denied = Reason("denied-egress-1", Kind.DENIED, PolicyType.EGRESS, (lock,), rule)
    found = record(ip(DB, WORLD, 6, tcp(1, 80)), denied.chain, denied=denied)
    assert found.reason == f"{rule} denies it"
    assert (found.drop_reason, found.drop_reason_desc) == (181, "POLICY_DENY")
    (by,) = found.egress_denied_by
    assert (by.kind, by.namespace, by.name) == ("ClusterNetworkPolicy", "", "lock")
    assert not found.ingress_denied_by
    assert not found.nearest_miss


def test_an_address_that_nobody_is_known_to_have_is_the_reason() -> None:
    unknown = Reason("unknown-egress", Kind.UNKNOWN, PolicyType.EGRESS)
    found = record(ip("10.244.2.77", DB, 6, tcp(1, 80)), unknown.chain, unknown=unknown)
    assert found.reason == "10.244.2.77 is one of node2's pod addresses, and no pod has it"
    assert (found.kind, found.traffic_direction) == ("unknown", "EGRESS")


def test_of_a_cut_connection_the_direction_is_that_of_the_pod_here() -> None:
    cut = Reason("cut", Kind.CUT)
    found = record(ip(FRONTEND, DB, 6, tcp(1, 80, 0x10)), "cut", cut=cut)
    assert (found.kind, found.traffic_direction) == ("cut", "INGRESS")
    assert "older than policies that do not allow it" in found.reason
    assert record(ip(DB, FRONTEND, 6, tcp(80, 1)), "cut", cut=cut).traffic_direction == "EGRESS"


def test_a_cut_connection_names_who_denies_it_now_also_by_its_answers() -> None:
    cut = Reason("cut", Kind.CUT)
    asked = record(ip(FRONTEND, DB, 6, tcp(41320, 5432, 0x10)), "cut", cut=cut)
    answer = record(ip(DB, FRONTEND, 6, tcp(5432, 41320, 0x10)), "cut", cut=cut)
    for found in (asked, answer):
        assert found.reason == (
            "this connection is older than policies that do not allow it: NetworkPolicy shop/db "
            "isolates pod shop/db for ingress and does not allow it"
        )
        assert [each.name for each in found.ingress_denied_by] == ["db"]
        assert found.egress_denied_by == ()
        assert found.nearest_miss.startswith("NetworkPolicy shop/db ingress[0] allows port 5432")


def test_where_either_way_is_denied_a_cut_connection_names_who_denies_the_way_it_began() -> None:
    spec = {"podSelector": {"matchLabels": {"app": "frontend"}}}
    objects = snapshot()
    locked = made(NetworkPolicy, "shop/locked", spec=spec)
    objects.apply(Change(NetworkPolicy, locked.name, locked))
    base = replace(ground(cut=Reason("cut", Kind.CUT)), judge=Judge(objects))
    packet = logged(ip(DB, FRONTEND, 6, tcp(50051, 41320, 0x10)), "cut")

    def denying(place: Ground) -> list[str]:
        found = make(packet, place)
        assert found is not None
        return [each.name for each in found.ingress_denied_by]

    assert denying(base) == [], "nobody knows how it began"
    assert denying(replace(base, as_begun=turned)) == ["db"], "it is an answer"
    assert denying(replace(base, as_begun=lambda it: it)) == ["locked"]


def test_a_cut_connection_that_is_allowed_by_now_names_nobody() -> None:
    known = replace(ground(cut=Reason("cut", Kind.CUT)), as_begun=lambda it: it)
    found = make(logged(ip(DB, FRONTEND, 6, tcp(41320, 80, 0x10)), "cut"), known)
    assert found is not None
    assert found.reason == "this connection is older than policies that do not allow it"
    assert (found.ingress_denied_by, found.nearest_miss) == ((), "")


def test_a_chain_that_is_no_more_is_told_as_such() -> None:
    found = record(ip(FRONTEND, DB, 6, tcp(1, 80)), "egress-of-yesterday")
    assert "a chain that is no more" in found.reason
    assert found.destination.pod_name == "db"


def test_policies_that_would_allow_it_now_have_no_nearest_miss() -> None:
    egress = Reason("egress-1", Kind.ISOLATED, PolicyType.EGRESS, ())
    assert not record(ip(FRONTEND, DB, 6, tcp(1, 80)), "egress-1", egress=egress).nearest_miss


def test_a_thousand_policies_are_named_by_some() -> None:
    names = (PolicyName("NetworkPolicy", ObjectName("shop", f"p{n}")) for n in range(1000))
    many = Reason("ingress-many", Kind.ISOLATED, PolicyType.INGRESS, tuple(names))
    found = record(ip(FRONTEND, DB, 6, tcp(1, 80)), many.chain, many=many)
    assert len(found.ingress_denied_by) == MAX_POLICIES
    assert "shop/p2 and 997 more isolate pod shop/db" in found.reason


def test_bytes_that_are_no_packet_make_no_record() -> None:
    assert make(logged(b""), EVERYTHING) is None
    assert make(logged(b"\x45" * 19), EVERYTHING) is None


@given(payload=st.binary(max_size=128), prefix=st.sampled_from([CHAIN, "", "\N{BELL}"]))
def test_no_packet_breaks_it_and_every_record_is_json(payload: bytes, prefix: str) -> None:
    for first in (0x45, 0x60):
        found = make(logged(bytes([first]) + payload, prefix), EVERYTHING)
        if found is not None:
            assert msgspec.json.decode(msgspec.json.encode(found), type=Record) == found
