"""At which of the node's addresses NodePorts answer, and where cgroup2 is."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from podwire_node.settings.agent_config import AgentConfig
from podwire_node.sockets.own_addresses import MAX, answering
from podwire_node.sockets.place import place_of

OWN = ["127.0.0.1", "::1", "192.168.77.1", "10.0.0.1", "fe80::1", "fd00:77::1"]


@pytest.mark.parametrize(
    ("networks", "found"),
    [
        (["192.168.77.1/32", "fd00:77::1/128"], {"192.168.77.1", "fd00:77::1"}),
        (["192.168.77.2/32"], set()),
        (["0.0.0.0/0"], {"192.168.77.1", "10.0.0.1"}),
        (["0.0.0.0/0", "::/0", "127.0.0.0/8"], {"192.168.77.1", "10.0.0.1", "fd00:77::1"}),
        (["10.0.0.0/8"], {"10.0.0.1"}),
        ([], set()),
    ],
)
def test_the_nodes_addresses_where_nodeports_answer(networks: list[str], found: set[str]) -> None:
    assert answering([ip_address(each).packed for each in OWN], networks) == found


def test_their_number_is_bounded() -> None:
    many = [number.to_bytes(4, "big") for number in range(2**24, 2**24 + MAX + 10)]
    assert len(answering(many, ["0.0.0.0/0"])) == MAX


MOUNTS = """\
21 1 0:20 / /sys rw - sysfs sysfs rw
31 21 0:28 /kubepods /somewhere rw - cgroup2 cgroup2 rw
32 21 0:28 / /sys/fs/cgroup/uni\\040fied rw,nosuid shared:4 - cgroup2 cgroup2 rw
"""


def test_the_cgroup_is_cgroup2s_root_unless_another_one_is_named(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    config = AgentConfig(node="n1", feed="/x")
    assert place_of(config, mounts).cgroup == Path("/sys/fs/cgroup/uni fied")
    assert place_of(config, mounts).folder == Path("/sys/fs/bpf/podwire")
    mounts.write_text("")
    assert place_of(config, mounts).cgroup == Path("/sys/fs/cgroup")
    named = AgentConfig(node="n1", feed="/x", ebpf_cgroup="/sys/fs/cgroup/pods")
    assert place_of(named, mounts).cgroup == Path("/sys/fs/cgroup/pods")
