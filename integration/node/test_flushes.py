"""Who flushes all tables, once or many times in a row, finds all of ours again."""

from __future__ import annotations

import time

import pytest
from attaching_node import AttachingNode
from firing_range import guard
from scratch import until

ROUNDS = 8
#: Looks of 2 s may be taken at once; after that they have a tenth of the time (podwire_node.pace).
WITHIN_S = 60.0


@pytest.mark.parametrize("times", [1, 2, 3, 40])
def test_tables_are_back_however_many_flushes_come_in_a_row(
    node: AttachingNode, times: int
) -> None:
    """The next flush may come while one part's tables are repaired already, another's not yet."""
    guard(node)
    node.start()
    tables = in_force(node)
    assert "table ip podwire-policy" in tables
    waits = []
    for _ in range(ROUNDS):
        flushes = f"for i in $(seq {times}); do nft flush ruleset; done"
        node.netns.run("sh", "-c", flushes)
        began = time.monotonic()
        until("all are back", lambda: in_force(node) == tables, WITHIN_S)
        waits.append(time.monotonic() - began)
        until("it says so", lambda: bool(node.status()["in_sync"]), WITHIN_S)
    print(f"{times} flushes: back after {', '.join(f'{each:.2f}' for each in waits)} s")
    assert min(waits) < 5, "at once, but for a machine that is busy"


def in_force(node: AttachingNode) -> set[str]:
    return set(node.netns.run("nft", "list", "tables").splitlines())
