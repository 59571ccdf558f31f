"""Labs with names of their own, each gone after its test whatever became of it."""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from podwire_lab.folders import Folders
from podwire_lab.machine import cluster, links, namespaces
from podwire_lab.topology import Lab, plan_lab

_numbers = itertools.count(1)
_ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def same_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts find podwire where the test found it."""
    ours = (path for path in sys.path if path.startswith(str(_ROOT)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(ours))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab of one node that is planned and not made."""
    name = f"t{os.getpid()}-{next(_numbers)}"
    yield plan_lab(name, 1)
    cluster.down(name)
    assert nothing_left(name)


@pytest.fixture
def wired(lab: Lab) -> Lab:
    """A lab with its folders, fabric and node, in which nothing runs."""
    folders = Folders.of(lab.name)
    folders.claim()
    folders.fill(lab)
    links.make_fabric(lab)
    links.make_node(lab, lab.nodes[0])
    return lab


@pytest.fixture
def gone() -> Callable[[str], bool]:
    """Whether nothing is left of a lab."""
    return nothing_left


def nothing_left(name: str) -> bool:
    """No namespace, no process in one that lost its name, no file."""
    marks = [file for file in Path("/proc").glob("[0-9]*/environ") if _is_marked(file, name)]
    return not namespaces.named(f"pw.{name}.") and not marks and not Folders.of(name).root.exists()


def _is_marked(environ: Path, name: str) -> bool:
    try:
        pairs = environ.read_bytes().split(b"\0")
    except OSError:
        return False
    marks = (f"PODWIRE_ROLE={name}/".encode(), f"PODWIRE_CONTAINER={name}/".encode())
    return any(pair.startswith(marks) for pair in pairs)
