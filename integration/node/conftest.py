"""A node that attaches pods, for all tests here that want one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attaching_node import AttachingNode
from client_build import build
from scratch import Netns


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("client"))


@pytest.fixture
def node(new_netns: Callable[[], Netns], tmp_path: Path, client: Path) -> Iterator[AttachingNode]:
    made = AttachingNode(new_netns(), new_netns(), tmp_path / "node", client)
    yield made
    made.forced_end()
