"""Transactions are sent when something differs, sent again when refused, and never otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from packet_flows import NODE, world

from podwire_core.backoff import FIRST_S
from podwire_core.errors import NftError
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import State, Table
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import Service
from podwire_core.snapshot import Change, Snapshot
from podwire_node.pace import BURST_S, SHARE
from podwire_node.programmer import REBUILD_AFTER, Programmer
from podwire_proxy.services import TABLES, Services


class Whistle:
    """Stands for the Monitor: says whether someone else touched the tables."""

    def __init__(self) -> None:
        self.blown = False
        self.own: list[int] = []

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass

    def foreign(self, own: int) -> bool:
        self.own.append(own)
        blown, self.blown = self.blown, False
        return blown


class Moody(Fake):
    """A kernel that refuses as often as it is told to."""

    refusals = 0

    def commit(self, transaction: Transaction) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NftError("Could not process rule: Cannot allocate memory")
        super().commit(transaction)


def programmer(nft: Fake, whistle: Whistle, clock: Callable[[], float] = lambda: 0.0) -> Programmer:
    services = Services(NODE)
    made = Programmer("proxy", services, Owner(nft, TABLES), whistle, clock)  # type: ignore[arg-type]  # a stand-in
    objects = world()
    made.take(Snapshot(objects), [Change(type(each), each.name, each) for each in objects])
    return made


def test_the_first_sync_is_one_transaction_and_the_second_none() -> None:
    nft = Fake()
    proxy = programmer(nft, Whistle())
    assert not proxy.in_sync
    assert proxy.sync(0) is None
    assert proxy.in_sync
    assert proxy.sync(1) is None
    assert len(nft.log) == proxy.transactions == 1


def test_a_refusal_is_tried_again_with_everything() -> None:
    nft = Moody()
    nft.refusals = 2
    proxy = programmer(nft, Whistle())
    first = proxy.sync(0.0)
    assert first == FIRST_S
    assert proxy.sync(FIRST_S / 2) == first, "too early"
    assert nft.refusals == 1
    second = proxy.sync(first)
    assert second == FIRST_S + 2 * FIRST_S
    assert proxy.sync(second) is None
    assert proxy.in_sync
    assert proxy.failures == 2


class Stubborn(Fake):
    """A kernel in which something of ours is wedged: only a new beginning is taken."""

    def commit(self, transaction: Transaction) -> None:
        if self.log and not any(
            str(c.text).startswith("delete table") for c in transaction.commands
        ):
            raise NftError("Could not process rule: Device or resource busy")
        super().commit(transaction)


def test_tables_that_are_wedged_are_made_anew() -> None:
    nft, whistle = Stubborn(), Whistle()
    proxy = programmer(nft, whistle)
    proxy.sync(0)
    before = nft.read(TABLES)
    nft.flush_ruleset()
    whistle.blown = True
    proxy.notice_drift()
    now: float | None = 1.0
    tries = 0
    while now is not None and tries < 10:
        tries += 1
        now = proxy.sync(now)
        assert (now is None) == (proxy.problem == "")
    assert nft.read(TABLES) == before
    assert tries == REBUILD_AFTER + 1


def test_drift_is_repaired_and_counted() -> None:
    nft, whistle = Fake(), Whistle()
    proxy = programmer(nft, whistle)
    proxy.sync(0)
    before = nft.read(TABLES)
    nft.flush_ruleset()
    whistle.blown = True
    proxy.notice_drift()
    assert not proxy.in_sync
    proxy.sync(1)
    assert nft.read(TABLES) == before
    assert proxy.repairs == 1


def test_what_is_changed_while_another_part_commits_is_due_at_once() -> None:
    """The first has synced and says that all is well; the second's commit hears the next flush."""
    nft, whistle = Fake(), Whistle()
    first, second = programmer(nft, whistle), programmer(Fake(), Whistle())
    second.listen_with([first, second])
    assert first.sync(5.0) is None
    before = nft.read(TABLES)
    nft.flush_ruleset()
    whistle.blown = True
    assert second.sync(5.0) is None
    assert not first.in_sync
    assert first.due() <= 5.0
    assert first.sync(5.0) is None
    assert nft.read(TABLES) == before


def test_a_false_alarm_sends_nothing() -> None:
    nft, whistle = Fake(), Whistle()
    proxy = programmer(nft, whistle)
    proxy.sync(0)
    whistle.blown = True
    proxy.notice_drift()
    proxy.sync(1)
    assert proxy.transactions == 1
    assert proxy.repairs == 0


class Slow(Fake):
    """A kernel that takes a while to be read."""

    LOOK_S = 0.2
    spent = 0.0

    def read(self, tables: Iterable[Table]) -> State:
        self.spent += self.LOOK_S
        return super().read(tables)


class Fight:
    """A programmer whose tables someone else changes all the time."""

    def __init__(self) -> None:
        self.nft, self._whistle = Slow(), Whistle()
        self.proxy = programmer(self.nft, self._whistle, lambda: self.nft.spent)
        self.proxy.sync(0.0)
        self.nft.spent = self.now = 0.0

    def last(self, until: float) -> None:
        """Fight on; ends when the next look may be."""
        while self.now < until:
            before = self.nft.spent
            self.alarm()
            due = self.proxy.sync(self.now)
            self.now = max(self.now + self.nft.spent - before, due or self.now)

    def alarm(self) -> None:
        self._whistle.blown = True
        self.proxy.notice_drift()


def test_another_writer_that_never_ends_gets_a_tenth_of_the_time() -> None:
    fight = Fight()
    fight.last(100.0)
    assert BURST_S < fight.nft.spent <= BURST_S + 100.0 * SHARE
    assert fight.proxy.repairs == 0, "nothing differed"


def test_repairs_are_made_at_once_until_they_never_end() -> None:
    fight = Fight()
    fight.last(BURST_S)
    assert fight.nft.spent == pytest.approx(BURST_S)
    fight.now += 1000.0
    fight.alarm()
    assert fight.proxy.sync(fight.now) is None
    assert fight.proxy.in_sync


def test_what_is_due_keeps_to_the_pace_and_to_the_back_off() -> None:
    fight = Fight()
    fight.last(100.0)
    fight.alarm()
    assert fight.proxy.due() == fight.proxy.sync(fight.now - 0.01) == fight.now
    nft = Moody()
    nft.refusals = 1
    refused = programmer(nft, Whistle())
    assert refused.sync(3.0) == refused.due() == 3.0 + FIRST_S


def test_a_changed_object_does_not_wait_for_the_pace_of_repairs() -> None:
    fight = Fight()
    fight.last(100.0)
    now, spent, sent = fight.now - 0.01, fight.nft.spent, len(fight.nft.log)
    fight.alarm()
    due = fight.proxy.sync(now)
    assert due is not None
    assert due > now
    assert len(fight.nft.log) == sent
    objects = world()
    gone = next(each for each in objects if isinstance(each, Service))
    rest = Snapshot(each for each in objects if each is not gone)
    fight.proxy.take(rest, [Change(Service, gone.name, None)])
    assert fight.proxy.sync(now) == due
    assert len(fight.nft.log) > sent
    assert fight.nft.spent == spent
    assert not fight.proxy.in_sync


def test_a_change_that_is_refused_in_a_fight_waits_for_the_pace() -> None:
    fight = Fight()
    fight.last(100.0)
    now, spent = fight.now - 0.01, fight.nft.spent
    fight.nft.flush_ruleset()
    fight.alarm()
    objects = world()
    gone = next(each for each in objects if isinstance(each, Service))
    rest = Snapshot(each for each in objects if each is not gone)
    fight.proxy.take(rest, [Change(Service, gone.name, None)])
    due = fight.proxy.sync(now)
    assert due is not None
    assert due >= fight.now
    assert fight.nft.spent == spent
    assert fight.proxy.sync(due) is None
    assert fight.proxy.in_sync


def test_own_commits_are_told_to_the_monitor_once() -> None:
    whistle = Whistle()
    proxy = programmer(Fake(), whistle)
    proxy.sync(0)
    proxy.notice_drift()
    proxy.notice_drift()
    assert sum(whistle.own) == 1


def test_a_start_in_parts_keeps_the_slots_that_the_kernel_holds() -> None:
    """What the agent does with a feed that is not synced yet: it waits, then takes it all."""
    nft = Fake()
    first = programmer(nft, Whistle())
    first.sync(0)
    owner = Owner(nft, TABLES)
    owner.adopt()
    again = Programmer("proxy", Services(NODE, dict(owner.in_force)), owner, Whistle())  # type: ignore[arg-type]  # a stand-in
    snapshot = Snapshot(world())
    again.take(snapshot, snapshot.changes())
    again.sync(0)
    assert again.transactions == 0
