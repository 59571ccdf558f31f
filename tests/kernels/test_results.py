"""What a guest says is counted; what it does not say is a fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from archive import numbers
from results import Outcome, Results


def results(*lines: dict[str, Any]) -> Results:
    made = Results("6.1.192", "linux-image-6.1.0-56-cloud-amd64", ("nft", "ebpf"))
    for each in lines:
        made.take(json.dumps(each) + "\n")
    return made


def ran(group: str, name: str, outcome: str = "passed") -> dict[str, Any]:
    return {"group": group, "test": name, "outcome": outcome, "seconds": 1.5, "text": "why"}


BOOTED: dict[str, Any] = {"group": "", "release": "6.1.0-56-cloud-amd64", "booted": 3.1}
NFT: dict[str, Any] = {"ended": "nft", "status": 0, "seconds": 9}
EBPF: dict[str, Any] = {"ended": "ebpf", "status": 0, "seconds": 9}
WHOLE = (BOOTED, ran("nft", "a"), NFT, ran("ebpf", "b"), EBPF, {"done": True})


def test_a_guest_that_said_everything_is_fine() -> None:
    made = results(*WHOLE)
    assert made.fine
    assert made.counts("nft") == {Outcome.PASSED: 1}
    assert made.booted == 3.1


def test_one_failure_is_not_fine() -> None:
    made = results(*WHOLE, ran("nft", "c", "failed"))
    assert not made.fine
    assert [each.name for each in made.of(Outcome.FAILED)] == ["c"]


def test_a_skip_is_fine() -> None:
    assert results(*WHOLE, ran("nft", "c", "skipped")).fine


def test_a_line_that_was_cut_off_is_no_line() -> None:
    made = results(*WHOLE)
    assert made.take('{"group": "ebpf", "test": "integra') is None
    assert made.take("") is None
    assert made.fine


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        ((), "never came up"),
        ((BOOTED, ran("nft", "a"), NFT), "ebpf: never ended"),
        ((*WHOLE, {"ended": "ebpf", "status": -9, "seconds": 900}), "ebpf: took longer than 900 s"),
        ((*WHOLE, {"ended": "nft", "status": 4, "seconds": 1}), "nft: pytest ended with 4"),
        ((BOOTED, ran("nft", "a"), NFT, EBPF, {"done": True}), "ebpf: no test ran"),
        (WHOLE[:-1], "ended early"),
    ],
)
def test_what_a_guest_did_not_say_is_a_trouble(
    said: tuple[dict[str, Any], ...], trouble: str
) -> None:
    made = results(*said)
    assert made.troubles() == [trouble]
    assert not made.fine


def test_versions_are_sorted_by_their_numbers() -> None:
    names = ["6.1.0-9", "6.1.0-56", "6.1.0-0.deb11.52", "6.12.117+deb13", "6.12.117+deb12", "7.2.6"]
    ordered = ["6.1.0-0.deb11.52", "6.1.0-9", "6.1.0-56", "6.12.117+deb12", "6.12.117+deb13"]
    assert sorted(names, key=numbers) == [*ordered, "7.2.6"]
