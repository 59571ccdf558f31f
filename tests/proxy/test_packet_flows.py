"""The packet-flow table over the fake: every random choice is explored."""

from __future__ import annotations

import pytest
from packet_flows import ADDRESSES, FLOWS, NODE, REJECT, Flow, world

from podwire_core.family import Family
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.tracer import Fate, Packet, Ruleset, Trace, trace
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.services import Services

NAMES = {address: name for name, row in ADDRESSES.items() for address in row.values()}


@pytest.fixture(scope="module")
def ruleset() -> Ruleset:
    objects = world()
    services = Services(NODE)
    fake = Fake()
    owner = Owner(fake, services.tables)
    owner.change(services.update(Snapshot(objects), [Change(type(o), o.name, o) for o in objects]))
    return Ruleset(fake.objects(), local=ADDRESSES["node"].values())


def end(way: Trace) -> str:
    return REJECT if way.fate is Fate.REJECT else f"{NAMES[way.packet.daddr]}:{way.packet.dport}"


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.promise)
def test_flow(ruleset: Ruleset, flow: Flow, family: Family) -> None:
    packet = Packet(
        family,
        saddr=ADDRESSES[flow.source][family],
        daddr=flow.address(family),
        protocol=flow.protocol,
        dport=flow.port,
        from_node=flow.source == "node",
    )
    ways = trace(ruleset, packet)
    if flow.ends == REJECT and flow.to == "node" and flow.port == 30080:
        assert [way.fate for way in ways] == [Fate.ACCEPT], "the node's own stack refuses it"
        return
    expected = {flow.ends} if isinstance(flow.ends, str) else set(flow.ends)
    assert {end(way) for way in ways} == expected
    masqueraded = {end(way) for way in ways if way.packet.masqueraded}
    assert masqueraded == expected & set(flow.masqueraded)


def test_answers_of_known_connections_meet_no_nat(ruleset: Ruleset) -> None:
    packet = Packet(Family.IPV4, "10.244.1.7", "10.96.0.10", "tcp", 80, state="established")
    (way,) = trace(ruleset, packet)
    assert not way.packet.dnat
