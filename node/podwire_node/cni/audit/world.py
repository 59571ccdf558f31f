"""What an audit looks at and changes: a node, or a test's model of one."""

from __future__ import annotations

from typing import Protocol

from podwire_node.cni.audit.steps import Step
from podwire_node.cni.audit.view import View


class RepairError(Exception):
    """A look or a repair that could not be made; one sentence."""


class World(Protocol):
    """Both methods raise RepairError."""

    def look(self) -> View:
        """All that is to be compared, as it is now."""
        ...

    def do(self, step: Step, deadline: float) -> None:
        """Make one change. deadline: by time.monotonic()."""
        ...
