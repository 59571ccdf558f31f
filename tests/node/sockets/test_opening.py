"""A plane, and the programs for traffic from outside, which may be refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.place import Place
from podwire_node.sockets import opening
from podwire_node.sockets.opening import Opened, opener

PLACE = Place(Path("/cgroup"), Path("/bpffs"))


class Refusing(FakePlane):
    """A kernel that takes the programs at sockets alone. error: what it says of the others."""

    error: Exception = Unsupported("no clsact")

    def external(self) -> object:
        raise self.error


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Refusing:
    made = Refusing()
    monkeypatch.setattr(opening, "open_plane", lambda _: made)
    return made


@pytest.mark.parametrize("error", [Unsupported("no clsact"), BpfError("the verifier refuses")])
def test_without_programs_for_outside_there_is_a_plane_still(
    plane: Refusing, error: BpfError
) -> None:
    plane.error = error
    found = opener(PLACE, external=True)()
    assert isinstance(found, Opened)
    assert (found.external, found.refused, plane.closed) == (None, error, False)


def test_where_they_are_not_asked_for_nobody_tries(plane: Refusing) -> None:
    assert opener(PLACE, external=False)() == Opened(plane)  # type: ignore[arg-type]  # the fake


def test_a_fault_leaves_no_plane_open(plane: Refusing) -> None:
    plane.error = ValueError("a fault")
    with pytest.raises(ValueError, match="a fault"):
        opener(PLACE, external=True)()
    assert plane.closed
