"""A change of rows, and what a full table says of it."""

from __future__ import annotations

from podwire_ebpf.errors import BpfError, Busy, TableFull, Unsupported
from podwire_ebpf.records import EndpointKey, FrontendKey, MemberKey
from podwire_ebpf.rows import Change


def test_a_change_of_nothing_is_false() -> None:
    assert not Change()
    assert Change().size == 0


def test_each_row_counts_once_whether_it_comes_or_goes() -> None:
    change = Change(
        {FrontendKey("10.96.0.1", 80, 6): None},
        {EndpointKey(7, 16): None, EndpointKey(7, 17): None},
        {MemberKey(7, "10.1.0.1", 80): None},
        {"10.0.0.1": False},
    )
    assert change
    assert change.size == 5


def test_changes_share_nothing() -> None:
    first = Change()
    first.addresses["10.0.0.1"] = True
    assert not Change()


def test_every_failure_is_one_kind() -> None:
    full = TableFull("endpoints", Change({}, {EndpointKey(7, 16): None}))
    assert str(full) == "table endpoints is full: 1 rows are not in"
    assert isinstance(full, BpfError)
    assert issubclass(Unsupported, BpfError)
    assert issubclass(Busy, BpfError)
    assert BpfError("short", "long").details == "long"
