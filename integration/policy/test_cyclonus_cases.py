"""The 230 cases after cyclonus, by real packets: what the labels say is what the kernel does.

Each state of each case: every pair of pods, TCP, UDP and SCTP, two ports, both families, to the
pod's address and to its Service's. tests/policy/test_cyclonus.py asks oracle and tracer the same.
"""

from __future__ import annotations

import pytest
from enforced import Enforced
from nine_pods import differing
from packet_stage import Probe
from policies.cyclonus_cases import CASES, Case, cyclonus_cases, questions
from policies.three_by_three import PEOPLE, node, vip
from policies.world import PLACES, START, State
from policy_model import NODES

from podwire_core.family import FAMILIES, Family

OF_IPV6 = cyclonus_cases(PLACES, Family.IPV6)
EVERY = [
    *CASES,
    *(other for case, other in zip(CASES, OF_IPV6, strict=True) if other.steps != case.steps),
]


def wanted(case: Case, state: State) -> dict[Probe, str]:
    """Every probe of a state, and where it is to come out."""
    found = {}
    for asked in questions(state):
        source, destination, protocol, port = asked
        for family in FAMILIES:
            here, there = (PLACES.addresses[each][family] for each in (source, destination))
            reached = destination if case.reaches(state, asked, family) else ""
            if source != destination:  # a pod's own address never leaves it
                found[Probe(here, there, protocol, port)] = reached
            if destination in PEOPLE:
                found[Probe(here, vip(destination, family), protocol, port)] = reached
    return found


def named(case: Case) -> str:
    return f"{case.name}{', CIDRs of IPv6' if any(case is each for each in OF_IPV6) else ''}"


@pytest.mark.parametrize("case", EVERY, ids=named)
def test_case(nine: Enforced, case: Case) -> None:
    nine.become([*map(node, NODES), *START.objects()])
    for state, changes in case.changes():
        nine.change(changes)
        table = wanted(case, state)
        assert differing(nine.stage.ask(table), table) == {}
