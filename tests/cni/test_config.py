"""The configuration, key by key."""

import json
from pathlib import Path

import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.config import (
    MAXIMUM_BYTES,
    decode,
    parse_config,
    parse_network,
    valid_attachments,
    version_of,
)
from podwire_cni.errors import BadConfig, BadJson

GOOD: dict[str, object] = {
    "cniVersion": "1.1.0",
    "name": "podnet",
    "type": "podwire-cni",
    "ranges": ["10.244.1.0/24", "fd00:10:244:1::/64"],
}


def test_defaults() -> None:
    config = parse_config(GOOD)
    assert config.network.state_dir == Path("/run/podwire/cni")
    assert (config.mtu, config.cooldown, config.previous) == (None, 30, None)
    assert [str(range_) for range_ in config.ranges] == ["10.244.1.0/24", "fd00:10:244:1::/64"]


def test_unknown_keys_are_tolerated() -> None:
    assert parse_config({**GOOD, "capabilities": {"x": True}, "cni.dev/future": 1, "ipam": {}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "a/b"),
        ("name", 7),
        ("stateDir", "run/podwire"),
        ("stateDir", 7),
        ("stateDir", "/run/\0"),
        ("stateDir", "/run/\ud800"),
        ("ranges", None),
        ("ranges", []),
        ("ranges", "10.244.1.0/24"),
        ("ranges", [167772160]),
        ("ranges", ["10.244.1.0"]),
        ("ranges", ["10.244.1.1/24"]),  # host bits
        ("ranges", ["10.244.1.0/33"]),
        ("ranges", ["10.244.1.0/31"]),
        ("ranges", ["10.244.1.4/32"]),
        ("ranges", ["fd00::/127"]),
        ("ranges", ["10.244.1.0/24", "10.244.2.0/24"]),  # one of each family
        ("ranges", ["fd00::/64", "10.244.1.0/24", "10.244.2.0/24"]),
        ("mtu", "1500"),
        ("mtu", True),
        ("mtu", 1279),
        ("mtu", 65536),
        ("mtu", 1500.5),
        ("cooldownSeconds", -1),
        ("cooldownSeconds", "30"),
        ("prevResult", []),
        ("prevResult", {"ips": "none"}),
        ("prevResult", {"dns": "\N{GRINNING FACE}" * 50_000}),  # 200 KB that come, 600 that go
    ],
)
def test_a_wrong_value_is_reported_with_its_key(key: str, value: object) -> None:
    with pytest.raises(BadConfig, match=rf"^{key}(\.ips)?: "):
        parse_config({**GOOD, key: value})


@pytest.mark.parametrize(
    ("cidr", "what"),
    [
        ("224.0.0.0/24", "multicast"),
        ("ff00::/64", "multicast"),
        ("127.0.0.0/24", "loopback"),
        ("::/120", "unspecified"),
        ("0.0.0.0/0", "unspecified"),
        ("::/0", "unspecified"),
        ("128.0.0.0/1", "link-local"),
        ("169.254.1.0/24", "link-local"),
        ("fe80::/64", "link-local"),
    ],
)
def test_a_range_that_no_pod_can_live_in_is_refused(cidr: str, what: str) -> None:
    with pytest.raises(BadConfig, match=rf"^ranges: {cidr} holds {what} addresses"):
        parse_config({**GOOD, "ranges": [cidr]})


def test_del_can_read_a_configuration_whose_ranges_are_broken() -> None:
    assert parse_network({**GOOD, "ranges": "oops", "mtu": "oops"}).name == "podnet"


@pytest.mark.parametrize(
    "stdin",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param(b"[" * 200_000, id="nested too deeply"),
        pytest.param(b" " * MAXIMUM_BYTES + b"{}", id="larger than a mebibyte"),
    ],
)
def test_undecodable_stdin_is_bad_json(stdin: bytes) -> None:
    with pytest.raises(BadJson):
        decode(stdin)


def test_an_absent_version_is_inferred_as_the_specification_does() -> None:
    assert version_of({}) == "0.1.0"


def test_a_version_that_is_no_string_is_bad_config() -> None:
    with pytest.raises(BadConfig, match=r"^cniVersion: "):
        version_of(decode(json.dumps({"cniVersion": 1.1}).encode()))


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_gc_reads_either_key(key: str) -> None:
    raw = {key: [{"containerID": "abc", "ifname": "eth0", "more": 1}]}
    network = parse_network(GOOD)
    assert valid_attachments(raw, network) == {Attachment("podnet", "abc", "eth0")}


def test_gc_takes_an_empty_list_for_nothing_valid() -> None:
    raw: dict[str, object] = {"cni.dev/valid-attachments": []}
    assert valid_attachments(raw, parse_network(GOOD)) == frozenset()


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({}, id="absent"),
        pytest.param({"cni.dev/valid-attachments": None}, id="null"),
        pytest.param({"cni.dev/valid-attachments": {}}, id="an object"),
        pytest.param({"cni.dev/valid-attachments": ["abc"]}, id="a string in it"),
        pytest.param({"cni.dev/valid-attachments": [{"containerID": "abc"}]}, id="half an item"),
    ],
)
def test_gc_without_a_usable_list_collects_nothing(raw: dict[str, object]) -> None:
    with pytest.raises(BadConfig, match=r"^cni\.dev/valid-attachments: "):
        valid_attachments(raw, parse_network(GOOD))
