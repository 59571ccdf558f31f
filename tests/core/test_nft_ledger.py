"""A ledger is a dict of keys and fingerprints; a walk is a mapping that is never held whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.delta import Delta
from podwire_core.family import Family
from podwire_core.nft import owner as owner_module
from podwire_core.nft.desired import Walk
from podwire_core.nft.expressions import daddr
from podwire_core.nft.fake import Fake
from podwire_core.nft.ledger import Ledger
from podwire_core.nft.objects import Element, Key, Object, Set, Table
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import transaction

TABLE = Table(Family.IPV4, "podwire-test")
SET = Set(TABLE, "members", daddr(Family.IPV4), "for a test")

keys = st.one_of(
    st.tuples(st.just("ip"), st.just("t")),
    st.tuples(
        st.just("ip"), st.just("t"), st.sampled_from(["chain", "set"]), st.sampled_from("ab")
    ),
    st.tuples(
        *(st.just(word) for word in ("ip", "t", "element")),
        st.sampled_from("ab"),
        st.sampled_from("xyz"),
    ),
)


@given(st.lists(st.tuples(keys, st.one_of(st.none(), st.text(max_size=2)))))
def test_a_ledger_is_a_dict(steps: list[tuple[Key, str | None]]) -> None:
    ledger, plain = Ledger(), dict[Key, str]()
    for key, value in steps:
        if value is None:
            assert ledger.pop(key, None) == plain.pop(key, None)
        else:
            ledger[key] = plain[key] = value
    assert ledger == plain
    assert plain == ledger
    assert Ledger(plain) == ledger
    assert ledger.copy() == plain
    assert len(ledger) == len(plain)
    assert set(ledger) == set(plain)
    assert all((key in ledger) == (key in plain) for key, _ in steps)


def test_a_set_that_goes_takes_its_elements_along() -> None:
    inside, other = ("ip", "t", "element", "a", "x"), ("ip", "t", "element", "b", "x")
    ledger = Ledger({("ip", "t", "set", "a"): "", inside: "", other: ""})
    ledger.forget_set(("ip", "t", "set", "a"))
    assert inside not in ledger
    assert other in ledger


def test_a_copy_of_a_ledger_goes_its_own_way() -> None:
    inside, home = ("ip", "t", "element", "a", "x"), ("ip", "t", "set", "a")
    ledger = Ledger({home: ""})
    ledger.file_set(home, {"x": "1"})
    other = ledger.copy()
    del other[inside]
    other[home] = "2"
    assert ledger == {home: "", inside: "1"}


def members(number: int) -> Walk:
    def objects() -> Iterator[Object]:
        yield TABLE
        yield SET
        for index in range(number):
            yield Element(TABLE, "members", (f"10.0.{index // 256}.{index % 256}",))

    return Walk(objects)


def test_a_walk_reads_like_the_dict_of_its_objects() -> None:
    walk = members(3)
    plain = {each.key: each for each in walk.objects()}
    assert dict(walk.items()) == plain
    assert list(walk) == list(plain)
    assert list(walk.values()) == list(plain.values())
    assert len(walk) == 5
    assert walk[SET.key] == SET
    assert SET.key in walk
    with pytest.raises(KeyError):
        walk["ip", "elsewhere"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "PART", 10)


@pytest.mark.usefixtures("small_parts")
def test_new_tables_are_filled_in_parts_and_each_is_announced() -> None:
    nft, heard = Fake(), list[int]()
    owner = Owner(nft, [TABLE])
    owner.after_commit = lambda: heard.append(owner.commits)
    owner.adopt()
    sent = owner.sync(members(33))
    assert owner.commits == 4
    assert heard == [1, 2, 3, 4]
    assert sent.counts() == {("add", "table"): 1, ("add", "set"): 1, ("add", "element"): 33}
    assert nft.read([TABLE]) == owner.in_force
    assert not owner.sync(members(33)), "a second sync sends nothing"


@pytest.mark.usefixtures("small_parts")
def test_tables_that_are_there_are_changed_in_one_transaction() -> None:
    nft = Fake()
    nft.commit(transaction(Delta(added=dict(members(5).items()))))
    owner = Owner(nft, [TABLE])
    owner.adopt()
    owner.sync(members(40))
    assert owner.commits == 1
    owner.sync(members(1))
    assert owner.commits == 2
    assert len(owner.in_force) == 3
    assert nft.read([TABLE]) == owner.in_force
