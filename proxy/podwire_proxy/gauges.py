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
    """udp_serving, udp_changes, serving, serving_changes, no_local: see Services.

    tcp: serving has TCP's frontends, too.
    """

    def __init__(self, *, tcp: bool = False) -> None:
        self._tcp = tcp
        self._tcp_serving: dict[Frontend, frozenset[Backend]] = {}
        self._tcp_changes = 0
        self.udp_serving: dict[Frontend, frozenset[Backend]] = {}
        self.udp_changes = 0
        self.no_local = {family: Lacking() for family in FAMILIES}
        self._lacking: Counter[tuple[Family, Protocol, str, bool]] = Counter()
        self._sticky = dict.fromkeys(FAMILIES, 0)
        self._guarded = dict.fromkeys(FAMILIES, 0)

    @property
    def serving(self) -> dict[Frontend, frozenset[Backend]]:
        """A copy."""
        return {**self.udp_serving, **self._tcp_serving}

    @property
    def serving_changes(self) -> int:
        """How often it has changed."""
        return self.udp_changes + self._tcp_changes

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
        changed = (before and before.serving) != (now and now.serving)
        if frontend.protocol is Protocol.UDP:
            _put(self.udp_serving, frontend, now)
            self.udp_changes += changed
        elif frontend.protocol is Protocol.TCP and self._tcp:
            _put(self._tcp_serving, frontend, now)
            self._tcp_changes += changed

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


def _put(serving: dict[Frontend, frozenset[Backend]], frontend: Frontend, now: Plan | None) -> None:
    if now is None:
        serving.pop(frontend, None)
    else:
        serving[frontend] = now.serving
