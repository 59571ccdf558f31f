"""Digests name what is pinned: they change with what matters, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from podwire_ebpf import external, sources
from podwire_ebpf.sources import SOCKETS, layout_digest, program_digest


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for source in sources.FOLDER.glob("*.c"):
        (tmp_path / source.name).write_text(source.read_text())
    monkeypatch.setattr(sources, "FOLDER", tmp_path)
    return tmp_path


def test_every_source_is_there() -> None:
    for module in (SOCKETS, external.MODULE):
        assert module.sources[0] == "maps.c", "the others use what it declares"
        for name in module.sources:
            assert (sources.FOLDER / name).is_file()


def test_every_function_stands_in_the_text_once() -> None:
    for module in (SOCKETS, external.MODULE):
        for each in module.programs:
            assert module.text().count(f"int {each.function}(") == 1


def test_a_comment_of_the_maps_keeps_the_maps(copied: Path) -> None:
    before = layout_digest(), program_digest(SOCKETS, [])
    text = (copied / "maps.c").read_text()
    (copied / "maps.c").write_text(f"/* one more\n * word */\n{text}\n\n// and another\n")
    assert layout_digest() == before[0]
    assert program_digest(SOCKETS, []) != before[1]


@pytest.mark.parametrize(
    ("name", "field", "other"),
    [("maps.c", "__u32 affinity;", "__u32 seconds;"), ("flows.c", "__u8 reset;", "__u8 closed;")],
)
def test_another_meaning_of_the_same_size_is_another_layout(
    copied: Path, name: str, field: str, other: str
) -> None:
    before = layout_digest()
    text = (copied / name).read_text()
    assert field in text
    (copied / name).write_text(text.replace(field, other))
    assert layout_digest() != before


def test_programs_are_compiled_anew_for_other_code_flags_or_functions(copied: Path) -> None:
    before = {program_digest(SOCKETS, []), program_digest(SOCKETS, ["-DHAVE_SET_RETVAL"])}
    assert len(before) == 2
    text = (copied / "connect.c").read_text()
    (copied / "connect.c").write_text(text + "\nstatic int more;\n")
    assert program_digest(SOCKETS, []) not in before
    assert program_digest(external.MODULE, []) not in before


def test_digests_are_names_that_bpffs_takes() -> None:
    for digest in (layout_digest(), program_digest(SOCKETS, [])):
        assert digest.isalnum()
        assert len(digest) == 16
