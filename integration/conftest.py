"""What every integration test stands on: root, and namespaces that go away again."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import bpf_place
import pytest
import scratch
from hypothesis import settings
from scratch import Netns

from podwire_lab.machine import requirements

# As in tests: a machine that others use, too, may take its time over an example.
settings.register_profile("podwire", settings(), deadline=None, print_blob=True)
settings.load_profile("podwire")


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """Nothing of this session stays, whatever became of its tests."""
    try:
        requirements.check()
    except requirements.Unmet as error:
        pytest.exit(f"integration tests cannot run here: {error}", returncode=1)
    bpf_place.sweep()
    # A terminated run cleans up like an interrupted one.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)
    scratch.sweep()


@pytest.fixture(scope="session", autouse=True)
def questions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Agents that a test gives no socket of their own share one here, not one of this machine."""
    folder = tmp_path_factory.mktemp("control")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PODWIRE_CONTROL_SOCKET", str(folder / "agent.sock"))
        yield


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
