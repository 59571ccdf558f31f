"""The packet-flow table with the programs at both ways to other machines: not a row changes.

Who comes in from outside for a NodePort, a balancer's or an external address is the programs', the
rest nftables': no client and no endpoint can tell. docs/decisions says what else is different.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dialled_flows import Dialled, expected
from flow_stage import Seen
from flows.places import ADDRESSES
from flows.rows import Flow
from flows.world import World
from packet_flows import WORLDS
from uplink_stage import Stage, requests

from podwire_core.family import Family


@pytest.fixture(scope="module")
def dialled(stage: Stage) -> Iterator[Dialled]:
    stage.attach()
    yield Dialled(stage)
    stage.detach()


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_flows(stage: Stage, dialled: Dialled, world: World) -> None:
    wrong = [
        f"{flow.promise}, {family}: {seen}, not {flow.ends}"
        for flow in world.flows
        for family in flow.families
        if not is_right(world, flow, family, seen := dialled.seen(world, flow, family))
    ]
    assert not wrong, "\n".join(wrong)
    print(f"{len(requests(stage))} connections by the programs")


def is_right(world: World, flow: Flow, family: Family, seen: list[Seen]) -> bool:
    """Whether they ended where they should, and were seen as whom they should."""
    ends = {each.end for each in seen}
    if not ends <= expected(flow) or (ends != expected(flow) and not world.seldom):
        return False
    if flow.source == "node":
        return True  # its own address either way
    return all(
        each.client == ADDRESSES["node" if each.end in flow.masqueraded else flow.source][family]
        for each in seen
        if each.client
    )
