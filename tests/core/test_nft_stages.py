"""When one change is two transactions, and what libnftables is given of new sets of intervals."""

from __future__ import annotations

from podwire_core.delta import Delta
from podwire_core.family import Family
from podwire_core.nft.expressions import saddr
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import Chain, Element, Hook, Key, Object, Rule, Set, Table
from podwire_core.nft.owner import Owner
from podwire_core.nft.statements import DROP, RETURN, Match, Vmap, goto
from podwire_core.nft.transaction import Command, Transaction, Verb, staged, transaction

TABLE = Table(Family.IPV4, "stages")
FIELD = saddr(Family.IPV4)
PODS = Set(TABLE, "pods", FIELD, data="verdict")
BLOCKS = Set(TABLE, "blocks", FIELD, interval=True)
PEERS = Set(TABLE, "peers", FIELD)
BASE = Chain(TABLE, "base", (Rule((Vmap(FIELD, "pods"),)),), Hook("filter", "forward", 0))
GROUP = Chain(
    TABLE,
    "group",
    (*(Rule((Match(FIELD, set=each.name), RETURN)) for each in (BLOCKS, PEERS)), Rule((DROP,))),
)
BLOCK = Element(TABLE, "blocks", ("10.0.0.0/8",))
PEER = Element(TABLE, "peers", ("10.1.0.1",))
POD = Element(TABLE, "pods", ("10.2.0.1",), goto("group"))


def adding(*objects: Object) -> Transaction:
    return transaction(Delta(added={each.key: each for each in objects}))


def test_a_new_chain_is_there_before_anything_leads_to_it() -> None:
    first, second = staged(adding(GROUP, BLOCKS, PEERS, BLOCK, PEER, POD))
    assert first.counts() == {
        ("add", "set"): 2, ("add", "chain"): 1, ("add", "rule"): 3, ("add", "element"): 1,
    }  # fmt: skip
    assert {each.object for each in second.commands} == {PEER, POD}


def test_elements_of_new_intervals_are_in_their_definition() -> None:
    more = Element(TABLE, "blocks", ("192.0.2.1",))
    lines = adding(BLOCKS, BLOCK, more, PEER).text.splitlines()
    elements = "elements = { 10.0.0.0/8, 192.0.2.1 }; }"
    made = f"{Command(Verb.ADD, BLOCKS).text.removesuffix(' }')} {elements}"
    assert [line for line in lines if "blocks" in line] == [made]


def test_a_chain_that_is_rewritten_waits_for_all_of_its_change() -> None:
    whole = transaction(Delta({POD.key: POD}, {GROUP.key: GROUP}))
    assert staged(whole) == (whole,)


def test_a_base_chain_is_never_there_alone() -> None:
    whole = adding(PODS, GROUP, BASE, POD)
    assert staged(whole) == (whole,)


def test_the_owner_counts_both() -> None:
    fake = Fake()
    owner = Owner(fake, [TABLE])
    owner.change({each.key: each for each in (TABLE, PODS, BASE)})
    before = owner.commits
    some: dict[Key, Object | None] = {each.key: each for each in (GROUP, BLOCKS, PEERS, BLOCK, POD)}
    owner.change(some)
    assert owner.commits == before + 2
    assert len(fake.log) == owner.commits
    assert owner.in_force == fake.read([TABLE])
