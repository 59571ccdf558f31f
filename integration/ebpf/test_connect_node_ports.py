"""NodePorts by wildcard frontends: at the node's addresses, and at its own loopback."""

from __future__ import annotations

import socket

import pytest
from bpf_stage import (
    ENDPOINTS4,
    ENDPOINTS6,
    TCP,
    UDP,
    Stage,
    family_of,
    who,
)

from podwire_ebpf.records import FrontendKey

VIP4, VIP6 = "10.96.0.10", "fd96::10"
NODE4, NODE6 = "10.8.1.1", "fd08:1::1"
PROTOCOLS = pytest.mark.parametrize("protocol", [TCP, UDP], ids=["TCP", "UDP"])


def call(on: Stage, protocol: int, vip: str, port: int, *, mapped: bool = False) -> socket.socket:
    dial = on.dial if protocol == TCP else on.talk
    return dial(on.a, vip, port, mapped=mapped)


def shown(address: str, *, mapped: bool) -> str:
    return f"::ffff:{address}" if mapped else address


@PROTOCOLS
@pytest.mark.parametrize(
    ("address", "wildcard", "endpoint", "mapped"),
    [
        (NODE4, "0.0.0.0", ENDPOINTS4[0], False),
        (NODE6, "::", ENDPOINTS6[0], False),
        (NODE4, "0.0.0.0", ENDPOINTS4[0], True),
    ],
    ids=["IPv4", "IPv6", "mapped"],
)
def test_node_port_answers_at_the_nodes_addresses(
    on: Stage, address: str, wildcard: str, endpoint: str, mapped: bool, protocol: int
) -> None:
    on.serve(FrontendKey(wildcard, 30080, protocol), endpoint)
    on.answers_at(address)
    with call(on, protocol, address, 30080, mapped=mapped) as made:
        assert who(made) == endpoint
        assert made.getpeername()[:2] == (shown(address, mapped=mapped), 30080)


def test_node_port_is_its_familys_alone(on: Stage) -> None:
    on.serve(FrontendKey("0.0.0.0", 30080, UDP), ENDPOINTS4[0])
    on.answers_at(NODE4, NODE6)
    with on.talk(on.a, NODE6, 30080) as made:
        assert not on.remembered(made)


@pytest.mark.parametrize("address", ["10.8.2.1", "10.9.0.1", "0.0.0.0"])
def test_node_port_answers_nowhere_else(on: Stage, address: str) -> None:
    on.serve(FrontendKey("0.0.0.0", 30080, UDP), ENDPOINTS4[0])
    on.answers_at(NODE4)
    with on.talk(on.a, address, 30080) as made:
        assert not on.remembered(made)


def test_frontend_of_an_address_goes_before_a_node_port(on: Stage) -> None:
    on.serve(FrontendKey("0.0.0.0", 30080, UDP), ENDPOINTS4[0])
    on.serve(FrontendKey(NODE4, 30080, UDP), ENDPOINTS4[1])
    on.answers_at(NODE4)
    with on.talk(on.a, NODE4, 30080) as made:
        assert who(made) == ENDPOINTS4[1]


LOCAL = pytest.mark.parametrize(
    ("address", "wildcard", "endpoint", "mapped"),
    [
        ("127.0.0.1", "0.0.0.0", ENDPOINTS4[0], False),
        ("127.1.2.3", "0.0.0.0", ENDPOINTS4[0], False),
        ("::1", "::", ENDPOINTS6[0], False),
        ("127.0.0.1", "0.0.0.0", ENDPOINTS4[0], True),
    ],
    ids=["127.0.0.1", "127.1.2.3", "::1", "mapped"],
)


@PROTOCOLS
@LOCAL
def test_node_port_answers_at_the_nodes_loopback(
    on: Stage, address: str, wildcard: str, endpoint: str, mapped: bool, protocol: int
) -> None:
    on.serve(FrontendKey(wildcard, 30080, protocol), endpoint)
    on.localhost()
    dial = on.dial if protocol == TCP else on.talk
    with dial(on.node, address, 30080, mapped=mapped) as made:
        assert who(made) == endpoint
        assert made.getpeername()[:2] == (shown(address, mapped=mapped), 30080)


@LOCAL
@pytest.mark.parametrize("why", ["a pod's", "not wanted"])
def test_loopback_is_otherwise_the_sockets_own(
    on: Stage, address: str, wildcard: str, endpoint: str, mapped: bool, why: str
) -> None:
    on.serve(FrontendKey(wildcard, 30080, UDP), endpoint)
    on.localhost(answers=why == "a pod's")
    where = on.a if why == "a pod's" else on.node
    with on.talk(where, address, 30080, mapped=mapped) as made:
        assert not on.remembered(made)


@LOCAL
def test_socket_bound_to_the_loopback_is_left_to_nftables(
    on: Stage, address: str, wildcard: str, endpoint: str, mapped: bool
) -> None:
    on.serve(FrontendKey(wildcard, 30080, UDP), endpoint)
    on.localhost()
    source, target = (f"::ffff:{each}" if mapped else each for each in ("127.0.0.1", address))
    source = "::1" if address == "::1" else source
    with on.socket(on.node, family_of(target), socket.SOCK_DGRAM) as made:
        made.bind((source, 0))
        made.connect((target, 30080))
        assert not on.remembered(made)
