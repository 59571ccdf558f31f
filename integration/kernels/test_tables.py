"""Each of our tables, empty of objects, is taken by this kernel, and read back as it was given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scratch import Netns

from podwire_core.nft.desired import Desired
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.snapshot import Snapshot
from podwire_node.guard import Guard
from podwire_node.host_ports.host_ports import HostPorts
from podwire_node.masquerade import Masquerade
from podwire_policy.policies import Policies
from podwire_proxy.services import Services

_PARTS: dict[str, Callable[[], Desired]] = {
    "services": lambda: Services("node1"),
    "policies": lambda: Policies("node1"),
    "guard": lambda: Guard("node1", 0),
    "guard of an overlay": lambda: Guard("node1", 8472),
    "masquerade": lambda: Masquerade("node1", ["10.0.0.0/8", "fd00::/8"]),
    "host ports": HostPorts,
}


@pytest.mark.parametrize("part", _PARTS)
def test_a_table_is_taken_and_read_back(part: str, new_netns: Callable[[], Netns]) -> None:
    desired = _PARTS[part]()
    with new_netns().inside():
        owner = Owner(Kernel(), desired.tables)
    owner.change(desired.update(Snapshot(), ()))
    believed = dict(owner.in_force)
    owner.adopt()
    assert owner.in_force == believed
    assert not owner.sync(desired.wanted)
