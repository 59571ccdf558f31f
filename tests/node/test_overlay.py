"""The overlay's values: settings, hardware addresses, addresses."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from podwire_cni.ranges import AddressRange
from podwire_node.routes.overlay import (
    ALIAS,
    DEVICE,
    OverlaySettings,
    device_address,
    device_mtu,
    mac_of,
    next_hop,
)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"mode": "tunnel"}, "tunnel"),
        ({"port": 0}, "VXLAN port 0"),
        ({"port": 65536}, "VXLAN port 65536"),
        ({"vni": 0}, "VXLAN id 0"),
        ({"vni": 1 << 24}, "VXLAN id 16777216"),
        ({"mtu": 1279}, "mtu 1279"),
        ({"mtu": 65536}, "mtu 65536"),
        ({"mtu": -1}, "mtu -1"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OverlaySettings(**setting)


@pytest.mark.parametrize("address", ["192.168.8.3", "fd00:8::3", "::1.2.3.4"])
def test_a_mac_is_the_nodes_own_and_unicast(address: str) -> None:
    mac = mac_of(address)
    assert mac == mac_of(address)
    assert len(mac) == 17
    first = int(mac[:2], 16)
    assert first & 0b11 == 0b10, "locally administered, unicast"


def test_ten_thousand_nodes_have_ten_thousand_macs() -> None:
    v4 = {mac_of(f"10.{n // 250}.{n % 250}.7") for n in range(10_000)}
    v6 = {mac_of(f"fd00::{n:x}") for n in range(1, 10_001)}
    assert len(v4 | v6) == 20_000


@pytest.mark.parametrize(
    "cidr",
    [
        "10.244.1.0/24",
        "10.244.1.0/30",
        "10.244.1.0/31",
        "10.244.1.7/32",
        "fd00:1::/64",
        "fd00:1::/127",
    ],
)
def test_no_lease_is_ever_the_overlays_address(cidr: str) -> None:
    address = ip_address(device_address(cidr))
    assert address in ip_network(cidr)
    assert not AddressRange(ip_network(cidr)).offers(address)


def test_ipv6_goes_via_the_link_local_address_of_the_mac() -> None:
    assert next_hop("fd00:1::/64", "0a:70:c0:a8:08:03") == "fe80::870:c0ff:fea8:803"
    assert next_hop("10.244.3.0/24", "0a:70:c0:a8:08:03") == "10.244.3.1"


@pytest.mark.parametrize(
    ("uplink", "local", "configured", "mtu"),
    [
        (1500, "192.168.0.1", 0, 1450),
        (1500, "fd00::1", 0, 1430),
        (1500, "192.168.0.1", 1400, 1400),
        (1500, "192.168.0.1", 9000, 1450),
        (1300, "192.168.0.1", 0, 1280),
        (0, "192.168.0.1", 0, 1450),
    ],
)
def test_an_outer_packet_has_room(uplink: int, local: str, configured: int, mtu: int) -> None:
    assert device_mtu(uplink, local, configured) == mtu


def test_names_fit_the_kernel() -> None:
    assert len(DEVICE) < 16
    assert len(ALIAS) < 256
