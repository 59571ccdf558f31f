"""The nodes and pods that tests/tables/flows/places.py draws, once for each module."""

from __future__ import annotations

from collections.abc import Iterator

import flow_stage
import pytest
from flow_stage import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with flow_stage.stage() as made:
        yield made
