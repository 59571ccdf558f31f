"""What one pod asks for: addresses, MAC, bandwidth, ranges; and from which of three places."""

import ipaddress

import pytest

from podwire_cni.config import parse_config
from podwire_cni.errors import BadConfig, UnsupportedField
from podwire_cni.limits import Bandwidth
from podwire_cni.ports import PortMapping
from podwire_cni.runtime import Runtime, parse_runtime

GOOD: dict[str, object] = {
    "name": "podnet",
    "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"],
}
NINE = (ipaddress.ip_address("10.244.1.9"),)


def asked(args: dict[str, str] | None = None, **wishes: object) -> Runtime:
    return parse_runtime({"runtimeConfig": wishes}, args or {})


def test_nothing_is_asked_for_by_default() -> None:
    assert parse_config(GOOD).runtime == Runtime()
    assert parse_runtime({"runtimeConfig": None, "args": None}, {}) == Runtime()


def test_unknown_capabilities_are_tolerated() -> None:
    assert asked(dns={"servers": []}, cgroupPath="/x", aliases=["a"]) == Runtime()


def test_ports_are_part_of_it() -> None:
    ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    assert asked(portMappings=ports).ports == (PortMapping(8080, 80, "tcp"),)


@pytest.mark.parametrize(
    ("raw", "args", "expected"),
    [
        ({"runtimeConfig": {"ips": ["10.244.1.9"]}}, {}, NINE),
        ({"runtimeConfig": {"ips": ["10.244.1.9/24"]}}, {}, NINE),
        ({"runtimeConfig": {"ips": ["10.244.1.9", "10.244.1.9/32"]}}, {}, NINE),
        ({"runtimeConfig": {"ips": ["10.244.1.9"]}}, {"IP": "10.244.1.8"}, NINE),
        ({"runtimeConfig": {"ips": []}, "args": {"cni": {"ips": ["10.244.1.9"]}}}, {}, NINE),
        ({"args": {"cni": {"ips": ["10.244.1.9"]}}}, {"IP": "10.244.1.8"}, NINE),
        ({}, {"IP": "10.244.1.9"}, NINE),
        ({"args": {"cni": {"labels": []}, "other": 1}}, {}, ()),
    ],
)
def test_addresses_come_from_the_first_place_that_names_some(
    raw: dict[str, object], args: dict[str, str], expected: tuple[object, ...]
) -> None:
    assert parse_runtime(raw, args).addresses == expected


def test_an_address_of_each_family_may_be_asked_for() -> None:
    found = asked(ips=["fd00:10:244:1::9/64", "10.244.1.9"]).addresses
    assert [str(address) for address in found] == ["fd00:10:244:1::9", "10.244.1.9"]


@pytest.mark.parametrize(
    ("ips", "named"),
    [
        ("10.244.1.9", "runtimeConfig.ips: "),
        (["ten"], "runtimeConfig.ips[0]: "),
        (["10.244.1.9", 7], "runtimeConfig.ips[1]: "),
        (["10.244.1.9/33"], "runtimeConfig.ips[0]: "),
        (["fe80::1%eth0"], "runtimeConfig.ips[0]: "),
        (["10.244.1.9", "10.244.1.8"], "runtimeConfig.ips: "),
        (["10.244.1.9"] * 9, "runtimeConfig.ips: "),
    ],
)
def test_wrong_addresses_are_named(ips: object, named: str) -> None:
    with pytest.raises(BadConfig) as caught:
        asked(ips=ips)
    assert caught.value.message.startswith(named)


@pytest.mark.parametrize(
    ("raw", "args"),
    [
        ({"runtimeConfig": {"mac": "02:34:9A:9C:CD:51"}}, {"MAC": "02:00:00:00:00:01"}),
        ({"runtimeConfig": {"mac": "02-34-9a-9c-cd-51"}}, {}),
        ({"args": {"cni": {"mac": "02:34:9a:9c:cd:51"}}}, {"MAC": "02:00:00:00:00:01"}),
        ({}, {"MAC": "02:34:9a:9c:cd:51"}),
    ],
)
def test_a_mac_is_canonical(raw: dict[str, object], args: dict[str, str]) -> None:
    assert parse_runtime(raw, args).mac == "02:34:9a:9c:cd:51"


@pytest.mark.parametrize(
    "mac",
    ["02:34:9a:9c:cd", "02:34:9a:9c:cd:5g", "03:34:9a:9c:cd:51", "00:00:00:00:00:00", "x\n", 7],
)
def test_a_mac_that_no_interface_can_have_is_named(mac: object) -> None:
    with pytest.raises(BadConfig, match=r"^runtimeConfig\.mac: "):
        asked(mac=mac)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"ingressRate": 0, "egressRate": 0}, None),
        ({"ingressRate": 1000, "ingressBurst": 8000}, Bandwidth(1000, 8000)),
        ({"egressRate": 10**9, "egressBurst": 2**32 - 1}, Bandwidth(0, 0, 10**9, 2**32 - 1)),
        ({"egressRate": 1000}, Bandwidth(egress_rate=1000)),
    ],
)
def test_bandwidth_is_read(limits: dict[str, object], expected: Bandwidth | None) -> None:
    assert asked(bandwidth=limits).bandwidth == expected


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"ingressRate": -1}, "ingressRate"),
        ({"ingressRate": "1M"}, "ingressRate"),
        ({"egressRate": 2**63}, "egressRate"),
        ({"egressBurst": 8000}, "egressBurst"),
    ],
)
def test_a_wrong_limit_is_named(limits: dict[str, object], field: str) -> None:
    with pytest.raises(BadConfig, match=rf"^runtimeConfig\.bandwidth\.{field}: "):
        asked(bandwidth=limits)


@pytest.mark.parametrize("key", ["runtimeConfig", "args"])
def test_no_object_is_refused(key: str) -> None:
    with pytest.raises(BadConfig, match=f"^{key}: expected an object"):
        parse_runtime({key: []}, {})


def ranges_of(sets: object, **more: object) -> list[str]:
    raw = {**GOOD, **more, "runtimeConfig": {"ipRanges": sets}}
    return [str(range_) for range_ in parse_config(raw).ranges]


PART = {"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.64", "rangeEnd": "10.244.1.127"}


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (None, ["10.244.1.0/24", "fd00:10:244:1::/64"]),
        ([], ["10.244.1.0/24", "fd00:10:244:1::/64"]),
        ([[PART]], ["10.244.1.64-10.244.1.127", "fd00:10:244:1::/64"]),
        ([[{**PART, "gateway": "10.244.1.1"}]], ["10.244.1.64-10.244.1.127", "fd00:10:244:1::/64"]),
        ([[{"subnet": "10.244.1.128/25"}]], ["10.244.1.128/25", "fd00:10:244:1::/64"]),
        (
            [[{"subnet": "fd00:10:244:1::/120"}], [PART]],
            ["10.244.1.64-10.244.1.127", "fd00:10:244:1::/120"],
        ),
    ],
)
def test_a_runtime_narrows_the_ranges(sets: object, expected: list[str]) -> None:
    assert ranges_of(sets) == expected


def test_a_runtime_that_keeps_the_pools_gives_the_ranges() -> None:
    sets = [[{"subnet": "fd00::/64"}], [{"subnet": "10.9.0.0/24"}]]
    assert ranges_of(sets, ranges=None) == ["fd00::/64", "10.9.0.0/24"]


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        ({}, "runtimeConfig.ipRanges: "),
        ([PART], "runtimeConfig.ipRanges[0]: "),
        ([["10.244.1.0/24"]], "runtimeConfig.ipRanges[0][0]: "),
        ([[{"rangeStart": "10.244.1.9"}]], "runtimeConfig.ipRanges[0][0].subnet: "),
        ([[{**PART, "rangeStart": "ten"}]], "runtimeConfig.ipRanges[0][0].rangeStart: "),
        ([[{**PART, "rangeEnd": "10.244.2.9"}]], "runtimeConfig.ipRanges[0][0].rangeEnd: "),
        ([[{**PART, "gateway": 1}]], "runtimeConfig.ipRanges[0][0].gateway: "),
        ([[{**PART, "rangeStart": "10.244.1.128"}]], "runtimeConfig.ipRanges[0][0]: "),
        ([[{"subnet": "10.244.2.0/24"}]], "runtimeConfig.ipRanges[0]: 10.244.2.0/24 lies in none"),
        ([[PART], [PART]], "runtimeConfig.ipRanges: "),
        ([[PART]] * 3, "runtimeConfig.ipRanges: "),
    ],
)
def test_a_wrong_range_is_named(sets: object, named: str) -> None:
    with pytest.raises(BadConfig) as caught:
        ranges_of(sets)
    assert caught.value.message.startswith(named)


def test_alternatives_for_one_address_are_unsupported_and_not_ignored() -> None:
    with pytest.raises(UnsupportedField, match=r"^runtimeConfig\.ipRanges\[0\]: 2 ranges"):
        ranges_of([[PART, PART]])
