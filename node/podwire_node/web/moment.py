"""Moments as Go prints them, which is how kube-proxy's health checks tell the time.

    2026-01-31 12:00:00.25 +0000 UTC m=+12.500000000
    wall clock, UTC                  seconds since the process began, by the monotonic clock

Source: Go's time.Time.String.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

_SECOND = 1_000_000_000


class Moment(NamedTuple):
    """wall: nanoseconds since 1970. monotonic: nanoseconds since the clock was made."""

    wall: int
    monotonic: int

    @property
    def go(self) -> str:
        """Go's spelling; a fraction has no zeros at its end, and none where it is zero."""
        seconds, rest = divmod(self.wall, _SECOND)
        fraction = f".{rest:09d}".rstrip("0").rstrip(".")
        when = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}{fraction}"
        whole, part = divmod(self.monotonic, _SECOND)
        return f"{when} +0000 UTC m=+{whole}.{part:09d}"


#: Go's zero time: never.
NEVER = "0001-01-01 00:00:00 +0000 UTC"


def clock() -> Callable[[], Moment]:
    """A clock whose monotonic part begins now."""
    began = time.monotonic_ns()
    return lambda: Moment(time.time_ns(), time.monotonic_ns() - began)
