"""Every test file of the kernel's folders is in a group of the matrix, or says why it is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import selection
from selection import GROUPS, LEFT_OUT

ROOT = Path(__file__).parents[2]
FOLDERS = ("core", "proxy", "policy", "ebpf", "kernels")


def is_path(argument: str) -> bool:
    return argument.startswith("integration/")


def chosen_files() -> set[str]:
    found: set[str] = set()
    for argument in (each for group in GROUPS for each in group.paths if is_path(each)):
        path = ROOT / argument
        files = path.rglob("test_*.py") if path.is_dir() else [path]
        found |= {str(each.relative_to(ROOT)) for each in files}
    return found


def test_no_file_is_forgotten() -> None:
    there = {
        str(each.relative_to(ROOT))
        for folder in FOLDERS
        for each in (ROOT / "integration" / folder).rglob("test_*.py")
    }
    assert there == chosen_files() | LEFT_OUT.keys()


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_what_a_group_names_is_there(group: selection.Group) -> None:
    for argument in (*group.paths, *group.short):
        assert not is_path(argument) or (ROOT / argument).exists(), argument
    for test in group.left_out:
        path, _, name = test.partition("::")
        text = (ROOT / path).read_text()
        assert re.search(rf"^def {name.partition('[')[0]}", text, re.MULTILINE) or not name, test


def test_groups_are_chosen_by_name() -> None:
    assert [each.name for each in selection.groups("ebpf,nft")] == ["ebpf", "nft"]
    assert selection.groups("") == GROUPS


def test_a_group_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"no group of tests is called nftables: .*, nft, "):
        selection.groups("nftables")


def test_the_short_selection_leaves_out_groups_that_have_none() -> None:
    short = selection.groups("", short=True)
    assert {each.name for each in short} == {each.name for each in GROUPS if each.short}
    assert all(each.arguments for each in short)
