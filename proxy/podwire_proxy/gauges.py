"""What others ask about all frontends, kept up to date frontend by frontend.

A walk over ten thousand of them would cost more than the change itself.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from podwire_core.family import FAMILIES, Family
from podwire_core.objects import Protocol
from podwire_proxy.frontend import Backend, Frontend, Plan


class Uses(NamedTuple):
    """What some Service of a family asks for; see skeleton."""

    affinity: bool
    guards: bool


class Lacking(NamedTuple):
    """Services' ports that drop because their policy is Local and no endpoint is on this node."""

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
        self._lacking: Counter[tuple[Family, Protocol, str, bool]] = Counter()
        self._sticky = dict.fromkeys(FAMILIES, 0)
        self._guarded = dict.fromkeys(FAMILIES, 0)

    @property
    def uses(self) -> dict[Family, Uses]:
        """What some frontend of each family asks for."""
        return {
            family: Uses(self._sticky[family] > 0, self._guarded[family] > 0) for family in FAMILIES
        }

    def replace(self, frontend: Frontend, before: Plan | None, now: Plan | None) -> None:
        """One frontend's plan became another."""
        for plan, step in ((before, -1), (now, 1)):
            if plan is None:
                continue
            self._sticky[frontend.family] += step * (plan.affinity is not None)
            self._guarded[frontend.family] += step * (plan.guard is not None)
            if plan.lacks_local:
                self._note_lacking(frontend, plan, step)
        if frontend.protocol is not Protocol.UDP:
            return
        if now is None:
            self.udp_serving.pop(frontend, None)
        else:
            self.udp_serving[frontend] = now.serving
        self.udp_changes += (before and before.serving) != (now and now.serving)

    def _note_lacking(self, frontend: Frontend, plan: Plan, step: int) -> None:
        """One Service's port counts once, at however many addresses from outside it drops."""
        key = (frontend.family, frontend.protocol, plan.label, plan.external)
        before = self._lacking[key]
        self._lacking[key] += step
        if not self._lacking[key]:
            del self._lacking[key]
        if not before or not self._lacking[key]:
            lacking = self.no_local[frontend.family]
            self.no_local[frontend.family] = lacking.changed(plan, step)
