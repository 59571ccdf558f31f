"""Many pods come and go through one agent: whether it grows, and what is left of them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from memory import resident_mb

from attaching.contenders import Contender
from attaching.nodes import pods
from attaching.rounds import Sizes
from attaching.spawning import run

_POOL = 50  # namespaces, used again and again
_FIRST = 2_000  # pairs before memory is looked at: allocators and caches settle


@dataclass(frozen=True)
class Pairs:
    """Memory in MB of 10^6 bytes; left: links, routes and leases that should be gone."""

    pairs: int
    seconds: float
    before_mb: float
    half_mb: float
    after_mb: float
    left: int


def run_pairs(spawn: Path, contender: Contender, sizes: Sizes, told: Callable[[], object]) -> Pairs:
    """Pairs until all are made, or the time is over. told: called after each _POOL."""
    before = _objects(contender)
    with pods(_POOL) as made:

        def some(pairs: int, deadline: float) -> int:
            done = 0
            while done < pairs and time.monotonic() < deadline:
                few = made[: pairs - done]
                run(spawn, [contender.call("ADD", pod) for pod in few], sizes.width)
                run(spawn, [contender.call("DEL", pod) for pod in few], sizes.width)
                done += len(few)
                told()
            return done

        some(min(_FIRST, sizes.pairs), time.monotonic() + sizes.pairs_s)
        began = time.monotonic()
        deadline = began + sizes.pairs_s
        before_mb = resident_mb(contender.agent)
        half = sizes.pairs // 2
        done = some(half, deadline)
        half_mb = resident_mb(contender.agent)
        done += some(sizes.pairs - half, deadline)
        after_mb = resident_mb(contender.agent)
        seconds = time.monotonic() - began
    left = _objects(contender) - before + _leases(contender)
    return Pairs(done, seconds, before_mb, half_mb, after_mb, left)


def steps(sizes: Sizes) -> int:
    """How often `told` is called when nothing hinders."""
    half = sizes.pairs // 2
    several = min(_FIRST, sizes.pairs), half, sizes.pairs - half
    return sum(-(-pairs // _POOL) for pairs in several)


def _objects(contender: Contender) -> int:
    """Links and routes of the node."""
    commands = (("link",), ("route", "show", "table", "all"), ("-6", "route"), ("neighbour",))
    outputs = [contender.node.run("ip", "-json", *words) for words in commands]
    return sum(len(json.loads(output or "[]")) for output in outputs)


def _leases(contender: Contender) -> int:
    with closing(sqlite3.connect(contender.leases / "leases.db")) as database:
        row = database.execute("SELECT count(*) FROM leases WHERE released IS NULL").fetchone()
    return int(row[0])
