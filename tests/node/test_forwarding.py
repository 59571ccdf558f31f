"""Forwarding's ears: what cannot be heard is an error, not a loop without end."""

from __future__ import annotations

import pytest

from podwire_node.routes.forwarding import Forwarding


def test_an_error_that_lasts_is_told() -> None:
    forwarding = Forwarding()
    ((_, notice),) = forwarding.watched()
    forwarding.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        notice()
