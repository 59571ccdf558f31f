"""Lets these tests import what stands beside them, and policy_model beside the pure tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[2] / "tests" / "policy"),
]

if TYPE_CHECKING:
    from enforced import Enforced


@pytest.fixture(scope="module")
def nine() -> Iterator[Enforced]:
    """The nine pods of tests/tables/policies/three_by_three.py, and their Services."""
    from enforced import enforced, serve  # noqa: PLC0415 - found on the path just extended
    from nine_pods import SITE, objects  # noqa: PLC0415 - the same

    with enforced(SITE) as made:
        serve(made.stage, objects())
        yield made
