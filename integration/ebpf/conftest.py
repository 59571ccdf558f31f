"""A stage a module: its programs are compiled once, its maps are cleared for each test.

place       a test's own, nothing is pinned in it yet
compiled    a module's; its tests leave it detached (shared)
opened      a plane there
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import bpf_place
import bpf_stage
import pytest
from bpf_stage import Stage
from scratch import Netns

from podwire_ebpf import links, pins
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with bpf_place.place(tmp_path_factory.mktemp("bpffs")) as found:
        yield found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with bpf_place.place(tmp_path_factory.mktemp("bpffs")) as found:
        yield found


@pytest.fixture
def shared(compiled: Place) -> Iterator[Place]:
    yield compiled
    links.detach_all(compiled.folder / pins.LINKS)


@pytest.fixture
def opened(shared: Place) -> Iterator[Plane]:
    made = open_plane(shared)
    yield made
    made.close()


@pytest.fixture
def netns(new_netns: Callable[[], Netns]) -> Netns:
    return new_netns()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with bpf_stage.stage(tmp_path_factory.mktemp("bpffs")) as made:
        yield made


@pytest.fixture
def on(stage: Stage) -> Stage:
    stage.clear()
    return stage
