"""What the programs are told of listeners, on one plane after another."""

from __future__ import annotations

from typing import cast

import pytest

from podwire_ebpf.errors import BpfError
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.plane import Plane
from podwire_ebpf.records import Flag
from podwire_ebpf.ring import Events
from podwire_node.control.errors import ControlError
from podwire_node.observe import sockets
from podwire_node.sockets.observing import Observing


class RingPlane(FakePlane):
    """A fake with a ring, which is the plane itself. ring_refuses: what events() raises."""

    ring_refuses: BpfError | None = None

    def events(self) -> Events:
        if self.ring_refuses:
            raise self.ring_refuses
        return cast("Events", self)

    @property
    def is_observed(self) -> bool:
        settings = self.tables.settings.get(0)
        return settings is not None and bool(settings.flags & Flag.OBSERVED)


@pytest.fixture
def observing() -> Observing:
    return Observing(localhost=False)


def begin(observing: Observing) -> RingPlane:
    plane = RingPlane()
    observing.begin(cast("Plane", plane))
    observing.tell()
    return plane


def test_who_listens_goes_on_with_another_plane(observing: Observing) -> None:
    heard: list[sockets.Events] = []
    first = begin(observing)
    assert not first.is_observed
    observing.observe(heard.append)
    observing.tell()
    assert (first.is_observed, heard) == (True, [first])
    observing.end()
    second = begin(observing)
    assert (second.is_observed, heard) == (True, [first, second])
    observing.unobserve()
    assert not second.is_observed
    assert not begin(observing).is_observed
    assert heard == [first, second]


def test_who_leaves_while_there_is_no_plane_is_not_told_of_the_next(observing: Observing) -> None:
    heard: list[sockets.Events] = []
    first = begin(observing)
    observing.observe(heard.append)
    observing.end()
    observing.unobserve()
    assert not begin(observing).is_observed
    assert heard == [first]


def test_a_ring_that_cannot_be_read_leaves_no_flag_behind(observing: Observing) -> None:
    plane = begin(observing)
    plane.ring_refuses = BpfError("the ring of events: Cannot allocate memory")
    with pytest.raises(ControlError, match="Cannot allocate memory"):
        observing.observe(lambda _: pytest.fail("there is no ring"))
    assert not plane.is_observed
    assert not begin(observing).is_observed, "nobody listens"
