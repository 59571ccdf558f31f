"""The 230 cases after cyclonus: what the labels say, the oracle says, and so do the rules."""

from collections import Counter

import pytest
from policies.cyclonus_cases import CASES, COUNTS, Case, cyclonus_cases, questions
from policies.world import PLACES, START
from policy_model import Cluster

from podwire_core.family import FAMILIES, Family
from podwire_core.snapshot import Snapshot
from podwire_policy.oracle import Judge

WITH_BLOCKS = [case for case in cyclonus_cases(PLACES, Family.IPV6) if "block" in case.tags]


def test_no_case_is_forgotten_or_asked_twice() -> None:
    assert Counter(next(iter(case.tags & COUNTS.keys())) for case in CASES) == COUNTS
    assert sum(COUNTS.values()) == 230
    assert len({case.name for case in CASES}) == len(CASES)


def test_each_case_denies_something_or_says_that_it_does_not() -> None:
    """A table in which everything passes would hold for rules that do nothing."""
    denying = {
        case.name
        for case in CASES
        if not all(case.reaches(state, asked) for state in case.steps for asked in questions(state))
    }
    assert denying == {case.name for case in CASES if "open" not in case.tags}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_labels_oracle_and_rules_agree(case: Case) -> None:
    hold(case, Family.IPV4)


@pytest.mark.parametrize("case", WITH_BLOCKS, ids=lambda case: case.name)
def test_they_agree_on_blocks_of_ipv6(case: Case) -> None:
    hold(case, Family.IPV6)


def hold(case: Case, family: Family) -> None:
    cluster = Cluster(START.objects())
    for state, changes in case.changes():
        cluster.change(*changes)
        judge = Judge(cluster.snapshot)
        for asked in questions(state):
            source, destination, protocol, port = asked
            ends = [PLACES.addresses[each][family] for each in (source, destination)]
            wanted = case.reaches(state, asked, family)
            assert judge.judge(*ends, protocol, port).allowed is wanted, asked
            assert cluster.reaches(*ends, protocol, port) is wanted, asked


@pytest.mark.parametrize("blocks", FAMILIES)
def test_labels_and_oracle_agree_on_one_family_while_blocks_are_of_the_other(
    blocks: Family,
) -> None:
    """Who is named by a block only is nobody there; everything else is as it was."""
    asked_in = next(family for family in FAMILIES if family is not blocks)
    for case in cyclonus_cases(PLACES, blocks):
        snapshot = Snapshot(START.objects())
        for state, changes in case.changes():
            for change in changes:
                snapshot.apply(change)
            judge = Judge(snapshot)
            for asked in questions(state):
                source, destination, protocol, port = asked
                ends = [PLACES.addresses[each][asked_in] for each in (source, destination)]
                said = judge.judge(*ends, protocol, port).allowed
                assert said is case.reaches(state, asked, asked_in), (case.name, asked)
