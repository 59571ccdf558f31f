"""The maps as dicts refuse as the kernel's do."""

from __future__ import annotations

import pytest

from podwire_ebpf.errors import TableFull
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.records import Endpoint, EndpointKey, Frontend, FrontendKey
from podwire_ebpf.rows import Change

KEY = FrontendKey("10.96.0.1", 80, 6)
OLD, NEW = Endpoint("10.1.0.1", 80), Endpoint("10.1.0.2", 80)


def test_a_service_whose_change_has_no_room_leads_to_nothing_old() -> None:
    plane = FakePlane(most={"endpoints": 1})
    plane.apply(Change({KEY: Frontend(3, 1, first=(OLD,))}, {EndpointKey(1, 16): OLD}))
    grown = Change({KEY: Frontend(3, 17, first=(NEW,) * 16)}, {EndpointKey(3, 16): NEW})
    with pytest.raises(TableFull) as raised:
        plane.apply(grown)
    assert set(raised.value.refused.frontends) == {KEY}
    assert plane.tables.frontends.read() == {}


def test_what_goes_with_the_same_change_makes_room() -> None:
    plane = FakePlane(most={"endpoints": 1})
    plane.apply(Change({KEY: Frontend(3, 1, first=(OLD,))}, {EndpointKey(1, 16): OLD}))
    plane.apply(
        Change(
            {KEY: Frontend(3, 17, first=(NEW,) * 16)},
            {EndpointKey(3, 16): NEW, EndpointKey(1, 16): None},
        )
    )
    assert set(plane.tables.endpoints.read()) == {EndpointKey(3, 16)}
    assert plane.tables.frontends.read()[KEY].count == 17
