"""What a table knows of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire_ebpf import table


@pytest.mark.parametrize(
    ("listed", "count"), [("0", 1), ("0-3", 4), ("0-3,8", 5), ("0,2-3,128-255", 131)]
)
def test_possible_cpus_are_counted_with_their_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str, count: int
) -> None:
    possible = tmp_path / "possible"
    possible.write_text(f"{listed}\n")
    monkeypatch.setattr(table, "_POSSIBLE", possible)
    assert table.possible_cpus() == count
