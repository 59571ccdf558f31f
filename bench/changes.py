"""What a rolling update does to a Service: an endpoint moves, one goes, all are back.

turn   kind    the slice then has
3n     moved   one endpoint at an address that no one had before
3n+1   gone    one endpoint fewer
3n+2   back    what it had at first, so that any number of changes leaves the same cluster
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cluster


class Kind(StrEnum):
    """What happens to one endpoint."""

    MOVED = "moved"
    GONE = "gone"
    BACK = "back"


@dataclass(frozen=True)
class SliceChange:
    """A slice as it is after one endpoint changed."""

    kind: Kind
    number: int
    document: dict[str, Any]


def slice_changes(
    services: int, endpoints: int, count: int, seed: int = 0
) -> Iterator[SliceChange]:
    """At least `count` changes, of random Services, in whole groups of three."""
    chosen = random.Random(seed)  # noqa: S311 - chooses Services, keeps no secret
    for group in range((count + 2) // 3):
        number, index = chosen.randrange(services), chosen.randrange(endpoints)
        for kind in Kind:
            document = cluster.endpoint_slice(number, endpoints)
            if kind is Kind.MOVED:
                document["endpoints"][index]["addresses"] = [_fresh_address(seed, group)]
            elif kind is Kind.GONE:
                del document["endpoints"][index]
            yield SliceChange(kind, number, document)


def _fresh_address(seed: int, group: int) -> str:
    """One that no slice has, and that is an endpoint's (cluster.ENDPOINTS)."""
    return f"10.{160 + seed % 32}.{group // 250 % 250}.{1 + group % 250}"
