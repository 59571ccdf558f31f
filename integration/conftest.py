"""What every integration test stands on: root, and namespaces that go away again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import scratch
from scratch import Netns


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """Nothing of this session stays, whatever became of its tests."""
    if os.geteuid() != 0:
        pytest.exit("integration tests need root: they make network namespaces", returncode=1)
    yield
    scratch.sweep()


@pytest.fixture
def new_netns() -> Iterator[Callable[[], Netns]]:
    """Make network namespaces; all are gone after the test."""
    made: list[Netns] = []

    def make() -> Netns:
        made.append(scratch.make())
        return made[-1]

    yield make
    for each in made:
        scratch.remove(each)
