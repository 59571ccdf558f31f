"""Fields are found as plugins in Go find them: containerd and CRI-O write them in capitals."""

from typing import Any

from podwire_cni.fields import spelled
from podwire_cni.limits import Bandwidth, parse_bandwidth
from podwire_cni.pools import parse_ranges
from podwire_cni.ports import PortMapping, parse_ports


def test_ports_are_read_as_containerd_writes_them() -> None:
    written = {"HostPort": 8888, "ContainerPort": 8080, "Protocol": "tcp", "HostIP": ""}
    assert parse_ports([written]) == (PortMapping(8888, 8080, "tcp"),)


def test_bandwidth_is_read_as_containerd_writes_it() -> None:
    written = {"IngressRate": 8000, "IngressBurst": 2**32 - 1, "EgressRate": 0, "EgressBurst": 0}
    assert parse_bandwidth(written) == Bandwidth(ingress_rate=8000, ingress_burst=2**32 - 1)


def test_ranges_are_read_as_containerd_writes_them() -> None:
    written = {"Subnet": "10.244.1.0/24", "RangeStart": "10.244.1.9", "RangeEnd": "10.244.1.9"}
    raw: dict[str, Any] = {"ranges": ["10.244.1.0/24"]}
    raw["runtimeConfig"] = {"ipRanges": [[{**written, "Gateway": ""}]]}
    (range_,) = parse_ranges(raw)
    assert range_.capacity == 1


def test_the_exact_name_wins() -> None:
    assert spelled({"HOSTPORT": 1, "hostPort": 2}, "hostPort") == {"hostPort": 2}
    assert spelled({"HOSTPORT": 1, "hostPort": None}, "hostPort", "hostIP") == {
        "hostPort": None,
        "hostIP": None,
    }
