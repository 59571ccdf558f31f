"""The follower is told what is in force, and asked to judge when the rules changed."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from policy_model import namespace, node, pod, policy

from podwire_core.backoff import FIRST_S
from podwire_core.errors import NftError
from podwire_core.nft.fake import Fake
from podwire_core.nft.owner import Owner
from podwire_core.nft.transaction import Transaction
from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_node.recheck.rechecking import Rechecking
from podwire_policy.policies import Policies


class Quiet:
    """Stands for the Monitor."""

    def __init__(self) -> None:
        self.blown = False

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        pass

    def foreign(self, own: int) -> bool:
        del own
        blown, self.blown = self.blown, False
        return blown


class Refusing(Fake):
    """A kernel that refuses as often as it is told to."""

    refusals = 0

    def commit(self, transaction: Transaction) -> None:
        if self.refusals:
            self.refusals -= 1
            raise NftError("no")
        super().commit(transaction)


class Follower:
    """Stands for the Rechecker: remembers what it was told."""

    problem = ""

    def __init__(self) -> None:
        self.told: list[tuple[list[str], bool, bool]] = []

    def submit(self, changes: Iterable[Change], *, run: bool, everything: bool = False) -> None:
        self.told.append((sorted(str(each) for each in changes), run, everything))

    def close(self) -> None:
        pass


class Stage:
    """The part, the kernel under it and the follower behind it."""

    def __init__(self) -> None:
        self.kernel, self.monitor, self.follower = Refusing(), Quiet(), Follower()
        self.snapshot = Snapshot()
        policies = Policies("n1", recheck=True)
        owner = Owner(self.kernel, policies.tables)
        self.part = Rechecking("policy", policies, owner, self.monitor, self.follower)  # type: ignore[arg-type]  # stand-ins

    def take(self, *objects: KubernetesObject) -> None:
        changes = [Change(type(each), each.name, each) for each in objects]
        for each in changes:
            self.snapshot.apply(each)
        self.part.take(self.snapshot, changes)

    def told(self) -> list[tuple[list[str], bool, bool]]:
        told, self.follower.told = self.follower.told, []
        return told


WORLD = (node("n1", "10.0.0.0/24"), namespace("shop"), pod("shop/a", "10.0.0.1"))


@pytest.fixture
def stage() -> Stage:
    made = Stage()
    made.take(*WORLD)
    made.part.sync(0.0)
    return made


def test_at_the_start_all_connections_are_judged(stage: Stage) -> None:
    assert stage.told() == [(["+ Namespace shop", "+ Node n1", "+ Pod shop/a"], True, True)]


def test_a_start_that_changes_no_rule_judges_too(stage: Stage) -> None:
    again = Stage()
    again.kernel = stage.kernel
    policies = Policies("n1", recheck=True)
    owner = Owner(stage.kernel, policies.tables)
    again.part = Rechecking("policy", policies, owner, again.monitor, again.follower)  # type: ignore[arg-type]  # stand-ins
    again.take(*WORLD)
    again.part.sync(0.0)
    assert again.part.transactions == 0
    assert [(run, everything) for _, run, everything in again.told()] == [(True, True)]


def test_a_policy_is_told_when_it_is_in_the_kernel(stage: Stage) -> None:
    stage.told()
    stage.kernel.refusals = 1
    stage.take(policy("shop/p"))
    stage.part.sync(1.0)
    assert stage.told() == []
    stage.part.sync(1.0 + FIRST_S)
    assert stage.told() == [(["+ NetworkPolicy shop/p"], True, True)]  # all was compared anew


def test_what_changes_no_rule_is_told_and_judged_with_the_next_one(stage: Stage) -> None:
    stage.told()
    stage.take(pod("data/far", "10.0.1.1", node="n2"))
    stage.part.sync(1.0)
    assert stage.told() == [(["+ Pod data/far"], False, False)]
    stage.take(policy("shop/p"))
    stage.part.sync(2.0)
    assert stage.told() == [(["+ NetworkPolicy shop/p"], True, False)]


def test_a_sync_without_news_tells_nothing(stage: Stage) -> None:
    stage.told()
    stage.part.sync(1.0)
    assert stage.told() == []


def test_after_someone_elses_meddling_all_connections_are_judged(stage: Stage) -> None:
    stage.take(policy("shop/p"))
    stage.part.sync(1.0)
    stage.told()
    stage.kernel.flush_ruleset()
    stage.monitor.blown = True
    stage.part.notice_drift()
    stage.part.sync(2.0)
    assert stage.told() == [([], True, True)]


def test_the_followers_trouble_is_a_problem_of_the_part(stage: Stage) -> None:
    assert not stage.part.problems
    stage.follower.problem = "existingConnections: no"
    assert stage.part.problems == ["existingConnections: no"]
