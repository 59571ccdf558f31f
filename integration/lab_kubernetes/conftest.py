"""A lab with a real control plane, shared by a module's tests and gone after them."""

from collections.abc import Iterator

import pytest
import real_lab

from podwire_lab.topology import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes, the shop, our own agents."""
    with real_lab.raised() as found:
        yield found
