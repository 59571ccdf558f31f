"""Lost announcements mean that nothing is known; any other error is told, and ends."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from podwire_core.family import Family
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Table

TABLES = (Table(Family.IPV4, "podwire-test"),)


class Ears(socket.socket):
    """A socket that fails in this order, and then has nothing to say."""

    errors: list[int]

    def setsockopt(self, *_: object) -> None:
        """Joins no group: that takes privileges."""

    def recv(self, *_: object) -> bytes:
        code = self.errors.pop(0) if self.errors else errno.EAGAIN
        raise OSError(code, os.strerror(code))


def monitor(*errors: int) -> Monitor:
    ears = Ears()
    ears.errors = list(errors)
    return Monitor(TABLES, ears)


def test_lost_announcements_count_as_foreign() -> None:
    heard = monitor(errno.ENOBUFS, errno.ENOBUFS)
    assert heard.foreign(0)
    assert not heard.foreign(0)
    heard.close()


@pytest.mark.parametrize("before", [(), (errno.ENOBUFS,)], ids=["at once", "while it drains"])
def test_another_error_is_told(before: tuple[int, ...]) -> None:
    heard = monitor(*before, *[errno.EBADF] * 9)
    with pytest.raises(OSError, match="Bad file descriptor"):
        heard.foreign(0)
    heard.close()
