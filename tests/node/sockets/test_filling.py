"""What is in the maps, and what leaves them while a kernel refuses."""

from __future__ import annotations

from typing import cast

import pytest
from proxy_stage import HERE, endpoints, service
from socket_stage import answer

from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf import rows
from podwire_ebpf.errors import BpfError
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.plane import Plane
from podwire_ebpf.records import FrontendKey
from podwire_node.sockets.filling import Filling
from podwire_proxy.services import Services
from podwire_proxy.sockets import Sockets

HOME, MOVED, LATE = "192.168.7.1", "192.168.7.2", "192.168.7.3"
VIP = FrontendKey("10.96.0.10", 80, 6)


class NoRoom(FakePlane):
    """refusing: what needs room is refused, as by a kernel without memory."""

    refusing = False

    def apply(self, change: rows.Change) -> None:
        wants = {**change.frontends, **change.endpoints, **change.members}.values()
        if self.refusing and (any(wants) or any(change.addresses.values())):
            raise BpfError("no memory")
        super().apply(change)

    @property
    def addresses(self) -> set[str]:
        return set(self.tables.addresses.rows)


class Node:
    """Services, and one plane's maps."""

    def __init__(self) -> None:
        self.plane, self.sockets, self.snapshot = NoRoom(), Sockets(), Snapshot()
        self.filling = Filling(cast("Plane", self.plane), self.sockets)
        self.services = Services(HERE, None, None, self.sockets)
        self.put(service("web"), endpoints("web", 1))

    def put(self, *objects: KubernetesObject) -> None:
        changes = [Change(type(each), each.name, each) for each in objects]
        new = [each for each in changes if self.snapshot.apply(each)]
        self.services.update(self.snapshot, new)


@pytest.fixture
def node() -> Node:
    made = Node()
    made.filling.fill(frozenset({HOME, MOVED}))
    return made


def test_an_address_that_the_node_lost_goes_while_other_changes_are_refused(node: Node) -> None:
    """Somebody else may have it by now: NodePorts of ours do not answer there."""
    node.plane.refusing = True
    node.put(endpoints("web", 2))
    with pytest.raises(BpfError):
        node.filling.fill(frozenset({HOME}))
    assert node.plane.addresses == {HOME}
    assert answer(node.plane, VIP) is None


def test_an_address_that_the_node_loses_goes_while_nothing_is_tried(node: Node) -> None:
    node.plane.refusing = True
    node.put(endpoints("web", 2))
    with pytest.raises(BpfError):
        node.filling.fill(frozenset({HOME, MOVED, LATE}))
    assert node.plane.addresses == {HOME, MOVED}
    node.filling.retreat(frozenset({HOME, LATE}))
    assert node.plane.addresses == {HOME}
    node.plane.refusing = False
    node.filling.fill(frozenset({HOME, LATE}))
    assert node.plane.addresses == {HOME, LATE}
    assert answer(node.plane, VIP)


def test_what_a_refusal_may_have_put_in_goes_too(node: Node) -> None:
    """Addresses come in before what was refused: a change is no transaction."""
    node.plane.tables.addresses.put([(LATE, node.plane.tables.addresses.rows[HOME])])
    node.plane.refusing = True
    with pytest.raises(BpfError):
        node.filling.fill(frozenset({HOME, LATE}))
    node.filling.retreat(frozenset({HOME}))
    assert node.plane.addresses == {HOME}
