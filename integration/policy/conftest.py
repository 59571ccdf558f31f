"""Lets these tests import policy_machine, and policy_model beside the pure tests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from scratch import Netns

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[2] / "tests" / "policy"),
]

if TYPE_CHECKING:
    from policy_machine import Machine


@pytest.fixture
def machine(new_netns: Callable[[], Netns]) -> Iterator[Machine]:
    from policy_machine import machine  # noqa: PLC0415 - found on the path just extended

    with machine(new_netns) as made:
        yield made
