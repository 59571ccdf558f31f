"""What packets write into dynamic sets belongs to them: it is no drift, and can be forgotten."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import pytest
from msgspec import structs
from nft_refusals import BASE, CLIENTS, TABLE, remembering

from podwire_core.delta import Delta
from podwire_core.errors import NftError
from podwire_core.nft import entries
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction, transaction

WANTED: dict[Key, Object] = {each.key: each for each in (*BASE, CLIENTS, remembering("clients"))}


def met(*numbers: int) -> list[Element]:
    """Entries of clients."""
    return [
        Element(TABLE, "clients", (f"10.8.{n >> 8}.{n & 255}", "7"), ("10.244.1.5", "8080"))
        for n in numbers
    ]


def keys(elements: Iterable[Element]) -> list[str]:
    return [each.key_text for each in elements]


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def owner(fake: Fake) -> Owner:
    made = Owner(fake, [TABLE])
    made.sync(WANTED)
    made.commits = 0
    return made


def test_entries_are_no_part_of_what_is_in_force(fake: Fake, owner: Owner) -> None:
    fake.remember(met(1, 2))
    assert fake.read([TABLE]) == {key: each.fingerprint for key, each in WANTED.items()}
    owner.adopt()
    assert not owner.sync(WANTED)
    assert owner.entries(TABLE, "clients") == {
        "10.8.0.1 . 7": "10.244.1.5 . 8080",
        "10.8.0.2 . 7": "10.244.1.5 . 8080",
    }


def test_only_dynamic_sets_have_entries(fake: Fake, owner: Owner) -> None:
    del owner  # which filled the fake
    assert fake.entries(TABLE, "endpoints") == {}
    assert fake.entries(TABLE, "nothing") == {}
    assert fake.entries(Table(TABLE.family, "other"), "clients") == {}


def test_what_is_remembered_keeps_its_value(fake: Fake, owner: Owner) -> None:
    fake.remember(met(1))
    fake.remember([structs.replace(met(1)[0], data=("10.244.1.9", "1"))])
    assert owner.entries(TABLE, "clients") == {"10.8.0.1 . 7": "10.244.1.5 . 8080"}


def test_forgotten_entries_are_gone_in_one_commit(fake: Fake, owner: Owner) -> None:
    fake.remember(met(1, 2, 3))
    assert owner.forget(TABLE, ("clients",), keys(met(1, 3))) == 2
    assert list(owner.entries(TABLE, "clients")) == keys(met(2))
    assert owner.commits == 1


def test_each_commit_of_a_long_forgetting_is_counted_and_announced(
    fake: Fake, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "PART", 10)
    heard: list[int] = []
    owner.after_commit = lambda: heard.append(owner.commits)
    fake.remember(met(*range(25)))
    assert owner.forget(TABLE, ("clients",), keys(met(*range(25)))) == 25
    assert heard == [1, 2, 3]


def test_entries_that_went_by_themselves_are_no_error(fake: Fake, owner: Owner) -> None:
    fake.remember(met(1, 2, 3, 4, 5))
    assert owner.forget(TABLE, ("clients",), keys(met(*range(10)))) == 5
    assert owner.entries(TABLE, "clients") == {}
    assert owner.commits <= 2


def test_an_entry_that_went_alone_is_no_error(fake: Fake, owner: Owner) -> None:
    del fake
    assert owner.forget(TABLE, ("clients",), keys(met(1))) == 0
    assert owner.forget(TABLE, ("clients",), []) == 0
    assert owner.commits == 0


def test_halves_of_one_thing_go_in_one_commit_or_the_half_that_is_left(
    fake: Fake, owner: Owner
) -> None:
    other = replace(CLIENTS, name="others")
    fake.commit(transaction(Delta(added={other.key: other})))
    twins = [structs.replace(each, set="others") for each in met(1, 2)]
    fake.remember([*met(1, 2, 3), *twins])
    assert owner.forget(TABLE, ("clients", "others"), keys(met(1))) == 2
    assert owner.commits == 1
    assert owner.forget(TABLE, ("clients", "others"), keys(met(2, 3, 4))) == 3
    assert owner.entries(TABLE, "clients") == owner.entries(TABLE, "others") == {}


def test_a_set_that_is_gone_has_nothing_to_forget(fake: Fake, owner: Owner) -> None:
    fake.flush_ruleset()
    assert owner.forget(TABLE, ("clients",), keys(met(1, 2))) == 0


class _Slippery:
    """Entries of which the rest loses one more, each time just before it is deleted."""

    def __init__(self, there: Collection[str]) -> None:
        self.there = set(there)
        self.commits = 0

    def entries(self, table: Table, name: str) -> Mapping[str, str]:
        del table, name
        return dict.fromkeys(self.there, "")

    def commit(self, transaction: Transaction) -> None:
        doomed = {command.text.split("{ ")[1].split(" }")[0] for command in transaction.commands}
        if len(doomed) > 1:
            self.there.discard(min(doomed))
        if not doomed <= self.there:
            raise NftError("Could not process rule: No such file or directory")
        self.there -= doomed
        self.commits += 1


def test_entries_that_always_go_in_the_last_moment_are_forgotten_all_the_same() -> None:
    texts = keys(met(*range(64)))
    slippery = _Slippery([*texts, "10.9.9.9 . 7"])
    number = entries.forget(TABLE, ("clients",), texts, slippery.entries, slippery.commit)
    assert slippery.there == {"10.9.9.9 . 7"}
    assert 0 < number < 64


def test_another_refusal_is_told() -> None:
    def refuse(_: Transaction) -> None:
        raise NftError("Could not process rule: Operation not permitted")

    with pytest.raises(NftError, match="not permitted"):
        entries.forget(TABLE, ("clients",), keys(met(1)), Fake().entries, refuse)


# ------------------------------------------------------------------------------ passes


def passes_until_whole(*, number: int, missed: float, seed: int) -> list[set[bytes]]:
    """Passes over so many entries, each of which misses some share of them."""
    dice = random.Random(seed)
    everyone = [b"%d" % each for each in range(number)]
    made, read = entries.Passes(), list[set[bytes]]()
    while not made.whole:
        read.append({each for each in everyone if dice.random() >= missed})
        made.add(read[-1])
    return read


def test_two_passes_that_read_the_same_are_enough() -> None:
    assert len(passes_until_whole(number=1000, missed=0, seed=1)) == 2


def test_a_set_that_is_empty_twice_is_empty() -> None:
    assert len(passes_until_whole(number=0, missed=0, seed=1)) == 2


@pytest.mark.parametrize(("missed", "most"), [(0.0001, 3), (0.01, 5), (0.1, 8), (0.3, 16)])
def test_the_more_a_pass_misses_the_more_passes_there_are(missed: float, most: int) -> None:
    read = [passes_until_whole(number=2000, missed=missed, seed=seed) for seed in range(20)]
    assert all(len(set().union(*each)) == 2000 for each in read)
    assert max(map(len, read)) <= most


def test_entries_that_come_and_go_are_not_taken_for_missed_ones() -> None:
    made = entries.Passes()
    for number in range(3):
        assert not made.whole
        made.add({b"stays", b"comes and goes %d" % number})
    assert made.whole
