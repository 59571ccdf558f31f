"""Transactions are sent when something differs, sent again when refused, and never otherwise."""

from __future__ import annotations

from packet_flows import NODE, world

from podwire_core.backoff import FIRST_S
from podwire_core.errors import NftError
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.snapshot import Change, Snapshot
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


def programmer(nft: Fake, whistle: Whistle) -> Programmer:
    services = Services(NODE)
    made = Programmer("proxy", services, Owner(nft, TABLES), whistle)  # type: ignore[arg-type]  # a stand-in
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


def test_a_false_alarm_sends_nothing() -> None:
    nft, whistle = Fake(), Whistle()
    proxy = programmer(nft, whistle)
    proxy.sync(0)
    whistle.blown = True
    proxy.notice_drift()
    proxy.sync(1)
    assert proxy.transactions == 1
    assert proxy.repairs == 0


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
