"""What verbs look at, without an agent: objects that never change, a loop that is whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from drop_site import snapshot

from podwire_node.control.view import Moment

T = TypeVar("T")


class StillView:
    """In place of podwire_node.control.view.View."""

    def __init__(self, node: str) -> None:
        self.node = node
        self._moment = Moment(1, snapshot(), {})

    def now(self) -> Moment:
        """Always the same."""
        return self._moment

    def in_loop(self, question: Callable[[], T]) -> T:
        """At once."""
        return question()
