"""runtimeConfig.portMappings, and which two mappings cannot both be."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_cni.errors import BadConfig
from podwire_cni.family import IPAddress
from podwire_cni.ports import MOST_MAPPINGS, PortMapping, parse_ports

GOOD: dict[str, object] = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        pytest.param(GOOD, PortMapping(8080, 80, "tcp"), id="as a runtime sends it"),
        pytest.param({**GOOD, "protocol": "UDP"}, PortMapping(8080, 80, "udp"), id="in capitals"),
        pytest.param({**GOOD, "protocol": "sctp"}, PortMapping(8080, 80, "sctp"), id="SCTP"),
        pytest.param({**GOOD, "protocol": ""}, PortMapping(8080, 80, "tcp"), id="TCP by default"),
        pytest.param({**GOOD, "hostIP": None}, PortMapping(8080, 80, "tcp"), id="null is absent"),
        pytest.param(
            {**GOOD, "hostIP": "2001:DB8:0::1"},
            PortMapping(8080, 80, "tcp", "2001:db8::1"),
            id="an address in its canonical form",
        ),
        pytest.param(
            {**GOOD, "hostIP": "::ffff:192.0.2.1"},
            PortMapping(8080, 80, "tcp", "192.0.2.1"),
            id="IPv4 in IPv6's clothes",
        ),
        pytest.param(
            {**GOOD, "hostIP": "0.0.0.0"}, PortMapping(8080, 80, "tcp", "0.0.0.0"), id="any IPv4"
        ),
        pytest.param({**GOOD, "name": "web"}, PortMapping(8080, 80, "tcp"), id="an unknown field"),
    ],
)
def test_a_mapping_is_read(item: dict[str, object], expected: PortMapping) -> None:
    assert parse_ports([item]) == (expected,)


@pytest.mark.parametrize("port", [0, None])
def test_no_host_port_asks_for_nothing(port: int | None) -> None:
    assert parse_ports([{**GOOD, "hostPort": port}, {"containerPort": "oops"}]) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostPort", "8080"),
        ("hostPort", -1),
        ("hostPort", 65536),
        pytest.param("hostPort", 10**5000, id="a number of 5000 digits"),
        ("hostPort", True),
        ("containerPort", None),
        ("containerPort", 0),
        ("containerPort", 80.0),
        ("protocol", "icmp"),
        ("protocol", 6),
        ("protocol", "tcp" * 1000),
        ("hostIP", "localhost"),
        ("hostIP", "192.0.2.0/24"),
        ("hostIP", "fe80::1%eth0"),
        ("hostIP", "224.0.0.1"),
        ("hostIP", 3221225985),
        ("hostIP", "\udcff"),
    ],
)
def test_a_bad_field_is_named_with_its_index(field: str, value: object) -> None:
    with pytest.raises(BadConfig) as caught:
        parse_ports([{**GOOD, "hostPort": 1}, {**GOOD, field: value}])
    assert caught.value.message.startswith(f"runtimeConfig.portMappings[1].{field}: ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({}, id="an object"),
        pytest.param([8080], id="a number in the list"),
        pytest.param([GOOD] * (MOST_MAPPINGS + 1), id="too many"),
    ],
)
def test_no_list_of_bearable_length_is_refused(value: object) -> None:
    with pytest.raises(BadConfig, match=r"^runtimeConfig\.portMappings"):
        parse_ports(value)


def test_a_repetition_counts_once() -> None:
    assert len(parse_ports([GOOD, GOOD])) == 1


def test_two_mappings_of_one_pod_that_collide_are_both_named() -> None:
    with pytest.raises(BadConfig) as caught:
        parse_ports([{**GOOD, "hostIP": "192.0.2.1"}, {**GOOD, "containerPort": 81}])
    assert caught.value.message == (
        "runtimeConfig.portMappings[1]: *:8080/tcp is asked for by [0] as well,"
        " as 192.0.2.1:8080/tcp"
    )


ADDRESSES = ["", "0.0.0.0", "::", "192.0.2.1", "192.0.2.2", "2001:db8::1"]
TOGETHER = [
    {"0.0.0.0", "::"},
    {"0.0.0.0", "2001:db8::1"},
    {"::", "192.0.2.1"},
    {"::", "192.0.2.2"},
    {"192.0.2.1", "192.0.2.2"},
    {"192.0.2.1", "2001:db8::1"},
    {"192.0.2.2", "2001:db8::1"},
]


@pytest.mark.parametrize(("one", "other"), list(product(ADDRESSES, ADDRESSES)))
def test_two_host_ips_go_together_when_no_packet_is_meant_for_both(one: str, other: str) -> None:
    mapping = PortMapping(8080, 80, "tcp", one)
    assert mapping.collides(PortMapping(8080, 81, "tcp", other)) is ({one, other} not in TOGETHER)


def test_another_port_or_protocol_never_collides() -> None:
    mapping = PortMapping(8080, 80, "tcp")
    assert not mapping.collides(PortMapping(8080, 80, "udp"))
    assert not mapping.collides(PortMapping(8081, 80, "tcp"))


@given(st.ip_addresses())
def test_an_ipv6_mapping_reads_as_a_url_does(address: IPAddress) -> None:
    text = str(PortMapping(8080, 80, "tcp", str(address)))
    assert text.endswith(":8080/tcp")
    assert text.startswith("[") is (address.version == 6)
