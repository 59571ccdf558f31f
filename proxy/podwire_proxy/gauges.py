"""What others ask about all frontends, kept up to date frontend by frontend.

A walk over ten thousand of them would cost more than the change itself.
"""

from __future__ import annotations

from typing import NamedTuple

from podwire_core.family import FAMILIES
from podwire_core.objects import Protocol
from podwire_proxy.frontend import Backend, Frontend, Plan


class Lacking(NamedTuple):
    """Frontends that drop because their policy is Local and no endpoint is on this node."""

    internal: int = 0
    external: int = 0

    def changed(self, plan: Plan, step: int) -> Lacking:
        """One more, or one less, like this."""
        if plan.external:
            return self._replace(external=self.external + step)
        return self._replace(internal=self.internal + step)


class Gauges:
    """udp_serving, udp_changes, no_local: see Services."""

    def __init__(self) -> None:
        self.udp_serving: dict[Frontend, frozenset[Backend]] = {}
        self.udp_changes = 0
        self.no_local = {family: Lacking() for family in FAMILIES}

    def replace(self, frontend: Frontend, before: Plan | None, now: Plan | None) -> None:
        """One frontend's plan became another."""
        for plan, step in ((before, -1), (now, 1)):
            if plan is not None and plan.lacks_local:
                lacking = self.no_local[frontend.family]
                self.no_local[frontend.family] = lacking.changed(plan, step)
        if frontend.protocol is not Protocol.UDP:
            return
        if now is None:
            self.udp_serving.pop(frontend, None)
        else:
            self.udp_serving[frontend] = now.serving
        self.udp_changes += (before and before.serving) != (now and now.serving)
