"""A network namespace of a test's own, and nf_tables in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scratch import Netns

from podwire_core.nft.kernel import Kernel


@pytest.fixture
def home(new_netns: Callable[[], Netns]) -> Netns:
    return new_netns()


@pytest.fixture
def kernel(home: Netns) -> Kernel:
    with home.inside():
        return Kernel()
