"""What a program tells of a socket becomes a record with Hubble's names: who, what, where."""

from __future__ import annotations

import json

import msgspec
import pytest
from drop_site import DB, DB6, FRONTEND, FRONTEND6, ground

from podwire_ebpf.records import Event, FrontendKey
from podwire_node.observe.record import Record
from podwire_node.observe.shown import lines
from podwire_node.observe.translation import SocketGround, translated

VIP, VIP6, NODE = "10.96.0.13", "fd00:96::d", "192.168.7.2"
POD_COOKIE, NODE_COOKIE, STRANGER = 4026, 1, 77
CONNECT4, CONNECT6, SENDMSG4, RECVMSG4 = 10, 11, 14, 19
SERVICES = {
    FrontendKey(VIP, 80, 6): "shop/db:sql",
    FrontendKey(VIP, 53, 17): "shop/dns:",
    FrontendKey(VIP6, 80, 6): "shop/db:sql",
    FrontendKey("0.0.0.0", 30080, 6): "shop/db:sql",
    FrontendKey("::", 30080, 6): "shop/six:sql",
}
NAMESPACES = {POD_COOKIE: (FRONTEND, FRONTEND6)}
KNOWN = SocketGround(ground(), NAMESPACES.get, NODE_COOKIE, SERVICES)


def event(
    dialled: str = VIP,
    port: int = 80,
    endpoint: str = DB,
    *,
    protocol: int = 6,
    hook: int = CONNECT4,
    namespace: int = POD_COOKIE,
    to: int = 5432,
) -> Event:
    to = to if endpoint else 0
    return Event(5, namespace, 2**63 + 9, 7, dialled, endpoint, port, to, protocol, hook)


def record(told: Event) -> Record:
    return translated(told, 1_700_000_000.25, KNOWN)


def line(told: Event) -> str:
    return str(lines(record(told))[0])[13:]


def test_it_has_hubbles_names_and_protobufs_numbers() -> None:
    found = json.loads(msgspec.json.encode(record(event())))
    assert found == {
        "time": "2023-11-14T22:13:20.250000Z",
        "verdict": "TRANSLATED",
        "IP": {"source": FRONTEND, "destination": DB, "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 0, "destination_port": 5432}},
        "source": {"namespace": "shop", "labels": ["k8s:app=frontend"], "pod_name": "frontend"},
        "destination": {"namespace": "shop", "labels": ["k8s:app=db"], "pod_name": "db"},
        "Type": "SOCK",
        "node_name": "node2",
        "event_type": {"type": 7, "sub_type": 2},
        "destination_service": {"name": "db", "namespace": "shop"},
        "sock_xlate_point": "SOCK_XLATE_POINT_POST_DIRECTION_FWD",
        "socket_cookie": "9223372036854775817",
        "cgroup_id": "7",
        "Summary": "TCP connect",
        "dialled": "10.96.0.13:80",
    }


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (
            event(),
            "shop/frontend → 10.96.0.13:80 (shop/db) → shop/db:5432 TRANSLATED (TCP connect)",
        ),
        (
            event(VIP6, endpoint=DB6, hook=CONNECT6),
            "shop/frontend → [fd00:96::d]:80 (shop/db) → shop/db:5432 TRANSLATED (TCP connect)",
        ),
        (
            event(port=53, protocol=17, hook=SENDMSG4),
            "shop/frontend → 10.96.0.13:53 (shop/dns) → shop/db:5432 TRANSLATED (UDP sendto)",
        ),
        (
            event(NODE, 30080, namespace=NODE_COOKIE),
            "this node → 192.168.7.2:30080 (shop/db) → shop/db:5432 TRANSLATED (TCP connect)",
        ),
        (
            event("fd00::7", 30080, DB6, hook=CONNECT6),
            "shop/frontend → [fd00::7]:30080 (shop/six) → shop/db:5432 TRANSLATED (TCP connect)",
        ),
        (
            event(namespace=STRANGER, endpoint="8.8.8.8", to=53),
            "network namespace 77 → 10.96.0.13:80 (shop/db) → 8.8.8.8:53 TRANSLATED (TCP connect)",
        ),
        (
            event("10.96.0.99"),
            "shop/frontend → 10.96.0.99:80 → shop/db:5432 TRANSLATED (TCP connect)",
        ),
        (
            event(endpoint=""),
            "shop/frontend → 10.96.0.13:80 (shop/db) DROPPED (TCP connect)",
        ),
    ],
)
def test_a_line_says_who_dialled_what_and_where_it_went(told: Event, words: str) -> None:
    assert line(told) == words


def test_a_refused_call_is_a_drop_with_its_reason() -> None:
    found = record(event(endpoint=""))
    assert (found.verdict, found.drop_reason, found.drop_reason_desc, found.kind) == (
        *("DROPPED", 158),
        *("SERVICE_BACKEND_NOT_FOUND", "refused"),
    )
    assert found.ip.destination == VIP
    assert found.reason.startswith("Service shop/db:sql has no endpoint")
    assert len(lines(found)) == 2, "the reason stands below"


def test_a_namespace_that_nobody_knows_is_its_number() -> None:
    found = record(event(namespace=STRANGER))
    assert (found.netns_cookie, found.source.pod_name, found.ip.source) == ("77", "", "")
    assert not record(event()).netns_cookie


def test_what_is_translated_back_says_so() -> None:
    found = record(event(protocol=17, hook=RECVMSG4))
    assert found.sock_xlate_point == "SOCK_XLATE_POINT_POST_DIRECTION_REV"
    assert found.event_type.sub_type == 4
