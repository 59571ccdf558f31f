"""The one error of questions to an agent."""

from __future__ import annotations

from podwire_core.errors import PodwireError


class ControlError(PodwireError):
    """A question that got no answer: one sentence that says why, and what to do."""
