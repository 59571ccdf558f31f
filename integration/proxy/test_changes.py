"""Changes over the kernel: after each, it holds what we believe it holds."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from scratch import Netns

from podwire_core.feed.decode import decode
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, Service
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.services import TABLES, Services

NAMES = ("a", "b", "c")


def service(name: str, number: int, node_port: int) -> Change:
    ports: list[dict[str, Any]] = [
        {"name": "t", "port": 80, "nodePort": node_port},
        {"name": "u", "port": 80, "protocol": "UDP"},
    ]
    addresses = [f"10.96.0.{number}", f"fd00:10:96::{number}"]
    spec = {"clusterIP": addresses[0], "clusterIPs": addresses, "ports": ports}
    made = decode({"metadata": {"name": name}, "spec": spec}, Service, "test")
    return Change(Service, made.name, made)


def endpoints(name: str, family: str, numbers: list[int]) -> Change:
    prefix = "10.244.0." if family == "IPv4" else "fd00::"
    document = {
        "metadata": {"name": f"{name}-{family}", "labels": {"kubernetes.io/service-name": name}},
        "addressType": family,
        "ports": [{"name": "t", "port": 8080}, {"name": "u", "port": 53, "protocol": "UDP"}],
        "endpoints": [{"addresses": [f"{prefix}{number}"]} for number in numbers],
    }
    made = decode(document, EndpointSlice, "test")
    return Change(EndpointSlice, made.name, made)


def step(dice: random.Random) -> Change:
    """Something that happens in a cluster."""
    name = dice.choice(NAMES)
    if dice.random() < 0.3:
        change = service(name, dice.randint(10, 13), dice.choice([0, 30001, 30002]))
    else:
        family = dice.choice(["IPv4", "IPv6"])
        change = endpoints(name, family, dice.sample(range(1, 40), dice.randint(0, 12)))
    return Change(change.kind, change.name, None) if dice.random() < 0.15 else change


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_the_kernel_holds_what_we_believe(
    new_netns: Callable[[], Netns], seed: int
) -> None:
    with new_netns().inside():
        kernel = Kernel()
    owner, snapshot, services = Owner(kernel, TABLES), Snapshot(), Services("node1")
    owner.adopt()
    dice = random.Random(seed)
    for _ in range(40):
        change = step(dice)
        owner.change(services.update(snapshot, [change] if snapshot.apply(change) else []))
        assert kernel.read(TABLES) == owner.in_force
        assert owner.in_force == {k: each.fingerprint for k, each in services.wanted.items()}


def test_ten_thousand_endpoints_come_and_go(new_netns: Callable[[], Netns]) -> None:
    with new_netns().inside():
        kernel = Kernel()
    owner, snapshot, services = Owner(kernel, TABLES), Snapshot(), Services("node1")
    owner.adopt()
    changes = []
    for number in range(1000):
        spec = {"clusterIP": f"10.96.{number // 250}.{number % 250 + 1}", "ports": [{"port": 80}]}
        made = decode({"metadata": {"name": f"s{number}"}, "spec": spec}, Service, "test")
        each = decode(
            {
                "metadata": {
                    "name": f"e{number}",
                    "labels": {"kubernetes.io/service-name": made.name.name},
                },
                "addressType": "IPv4",
                "ports": [{"name": "", "port": 8080}],
                "endpoints": [
                    {"addresses": [f"10.{100 + slot}.{number // 250}.{number % 250}"]}
                    for slot in range(10)
                ],
            },
            EndpointSlice,
            "test",
        )
        changes += [Change(Service, made.name, made), Change(EndpointSlice, each.name, each)]
    for change in changes:
        snapshot.apply(change)
    empty = set(services.wanted)
    owner.change(services.update(snapshot, changes))
    assert sum(key[2:4] == ("element", "endpoints-tcp") for key in kernel.read(TABLES)) == 10_000
    gone = [Change(change.kind, change.name, None) for change in changes]
    for change in gone:
        snapshot.apply(change)
    owner.change(services.update(snapshot, gone))
    assert set(kernel.read(TABLES)) == empty
