"""The cases of Kubernetes' own policy tests, by real packets between nine pods on two nodes.

Every pair, TCP, UDP and SCTP, two ports, both families, to the pod's address and to its Service's:
1,836 packets a table. tests/policy/test_upstream_truth_tables.py asks oracle and tracer the same.
"""

from __future__ import annotations

import pytest
from enforced import Enforced
from nine_pods import differing, expected
from policies.three_by_three import everyone
from policies.upstream import CASES, Case, nobody


def test_without_policies_everyone_reaches_everyone(nine: Enforced) -> None:
    nine.become(everyone())
    wanted = expected(nobody)
    assert len(wanted) == 2 * 9 * 8 * 6 * 2 + 9 * 6 * 2
    assert differing(nine.stage.ask(wanted), wanted) == {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(nine: Enforced, case: Case) -> None:
    nine.become(everyone())
    for step in case.steps:
        nine.apply(*step.apply)
        nine.remove(*step.remove)
        wanted = expected(step.blocked)
        assert differing(nine.stage.ask(wanted), wanted) == {}
