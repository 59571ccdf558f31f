"""The cases of Kubernetes' own policy tests, over the oracle and over the compiled rules.

integration/policy/test_upstream_cases.py asks the same of real packets.
"""

from __future__ import annotations

from collections import Counter

import pytest
from policies.three_by_three import address, everyone, questions
from policies.upstream import CASES, Blocked, Case
from policies.upstream_api import API_CASES, ApiCase
from policy_model import Cluster

from podwire_core.errors import ObjectError
from podwire_core.family import FAMILIES
from podwire_core.feed.decode import decode
from podwire_core.objects import NetworkPolicy, ObjectName


def hold(cluster: Cluster, blocked: Blocked) -> None:
    """Oracle and rules both say what the table says."""
    for source, destination, protocol, number in questions():
        asked = (source, destination, protocol, number)
        wanted = not blocked(*asked)
        assert cluster.judge(*asked).allowed is wanted, asked
        for family in FAMILIES:
            ends = (address(source, family), address(destination, family))
            assert cluster.reaches(*ends, protocol, number) is wanted, (*asked, family)


def test_there_are_fifty_cases() -> None:
    assert Counter(case.over for case in CASES) == {"TCP": 42, "UDP": 3, "SCTP": 3}
    assert len({str(case) for case in CASES}) == 48
    assert len(API_CASES) == 2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    cluster = Cluster(everyone())
    for step in case.steps:
        cluster.apply(*step.apply)
        cluster.remove(*step.remove)
        hold(cluster, step.blocked)


@pytest.mark.parametrize("case", API_CASES, ids=lambda case: case.name)
def test_api_case(case: ApiCase) -> None:
    for document, refused in case.policies:
        if refused:
            with pytest.raises(ObjectError, match=refused):
                decode(document, NetworkPolicy, "the test")
        else:
            name = ObjectName("x", "e2e-example-netpol")
            assert decode(document, NetworkPolicy, "the test").name == name
