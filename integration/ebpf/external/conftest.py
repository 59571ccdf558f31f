"""The stage of the programs for traffic from outside, once for each module that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import uplink_stage
from uplink_stage import Stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """nftables alone; `attached` puts the programs beside it."""
    with uplink_stage.stage(tmp_path_factory.mktemp("bpffs")) as made:
        yield made


@pytest.fixture
def attached(stage: Stage) -> Iterator[None]:
    """The programs are at the links that lead outside."""
    stage.attach()
    yield
    stage.detach()
