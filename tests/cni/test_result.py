"""The result in each version's shape."""

import ipaddress

import pytest

from podwire_cni.attachment import Attachment
from podwire_cni.errors import CheckFailed
from podwire_cni.plan import make_plan
from podwire_cni.result import addresses_on, find_interface, make_result

ATTACHMENT = Attachment("podnet", "abc", "eth0")
ADDRESSES = (ipaddress.ip_address("10.244.1.5"), ipaddress.ip_address("fd00::5"))
PLAN = make_plan(ATTACHMENT, "default/web", ADDRESSES, 1450)


@pytest.mark.parametrize(
    ("version", "mtu", "families"),
    [
        ("0.3.0", [None, None], ["4", "6"]),
        ("0.3.1", [None, None], ["4", "6"]),
        ("0.4.0", [None, None], ["4", "6"]),
        ("1.0.0", [None, None], [None, None]),
        ("1.1.0", [1450, 1450], [None, None]),
    ],
)
def test_each_version_has_its_own_keys(
    version: str, mtu: list[int | None], families: list[str | None]
) -> None:
    result = make_result(version, PLAN, ADDRESSES, "/run/netns/x")
    interfaces, ips = result["interfaces"], result["ips"]
    assert isinstance(interfaces, list)
    assert isinstance(ips, list)
    assert result["cniVersion"] == version
    assert [interface.get("mtu") for interface in interfaces] == mtu
    assert [ip.get("version") for ip in ips] == families
    assert [interface.get("sandbox") for interface in interfaces] == [None, "/run/netns/x"]
    assert "dns" not in result


def test_the_whole_result_of_1_1_0() -> None:
    assert make_result("1.1.0", PLAN, ADDRESSES[:1], "/run/netns/x") == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": ATTACHMENT.host_name, "mac": ATTACHMENT.host_mac, "mtu": 1450},
            {
                "name": "eth0",
                "mac": ATTACHMENT.pod_mac,
                "mtu": 1450,
                "sandbox": "/run/netns/x",
            },
        ],
        "ips": [{"interface": 1, "address": "10.244.1.5/32", "gateway": "169.254.1.1"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "169.254.1.1"}],
    }


def test_a_previous_result_passes_through_and_ours_follows_it() -> None:
    previous: dict[str, object] = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "net0", "sandbox": "/run/netns/x", "pciID": "0000:00:1f.6"}],
        "ips": [{"address": "192.0.2.9/24", "interface": 0}],
        "dns": {"nameservers": ["192.0.2.53"]},
    }
    result = make_result("1.1.0", PLAN, ADDRESSES[:1], "/run/netns/x", previous)
    interfaces, ips = result["interfaces"], result["ips"]
    assert isinstance(interfaces, list)
    assert isinstance(ips, list)
    assert [interface["name"] for interface in interfaces] == [
        "net0",
        ATTACHMENT.host_name,
        "eth0",
    ]
    assert [ip["interface"] for ip in ips] == [0, 2]
    assert interfaces[0] == {"name": "net0", "sandbox": "/run/netns/x", "pciID": "0000:00:1f.6"}
    assert result["dns"] == previous["dns"]


def test_interface_zero_is_a_position_like_any_other() -> None:
    previous: dict[str, object] = {
        "interfaces": [{"name": "eth0", "sandbox": "x", "mac": "02:00:00:00:00:01"}],
        "ips": [{"address": "10.244.1.5/32", "interface": 0}, {"address": "192.0.2.1/32"}],
    }
    assert find_interface(previous, "eth0") == (0, "02:00:00:00:00:01")
    assert addresses_on(previous, 0) == {"10.244.1.5/32"}


@pytest.mark.parametrize(
    "previous",
    [
        pytest.param({}, id="no interfaces at all"),
        pytest.param({"interfaces": [{"name": "eth1", "sandbox": "x"}]}, id="another name"),
        pytest.param({"interfaces": [{"name": "eth0"}]}, id="the host's own eth0"),
    ],
)
def test_check_refuses_a_previous_result_without_the_interface(previous: dict[str, object]) -> None:
    with pytest.raises(CheckFailed, match="eth0"):
        find_interface(previous, "eth0")
