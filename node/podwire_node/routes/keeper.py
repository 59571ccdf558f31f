"""Keeps routes and overlay as the Nodes say: compare with the kernel, send what differs.

    Nodes ──► Peers ─┐
    kernel ─► Reach ─┴─► Plan ─► device ─► entries ─► routes ─► what no plan has any more, goes

In this order no route leads to a device, or to a peer behind it, that is not there yet. A
route that changes its way is replaced in one step.

The overlay's device is made when the first peer needs it. It then stays, because another node
may still send through it what we already send directly; with mode direct it goes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ParamSpec

from podwire_core.backoff import Backoff
from podwire_core.delta import delta
from podwire_core.errors import ObjectError
from podwire_core.objects import Node
from podwire_node.routes.overlay import Entry, Forward, Mode, OverlaySettings
from podwire_node.routes.overlay_device import Found, NameTakenError
from podwire_node.routes.peers import Peers, peers_of
from podwire_node.routes.plan import Plan, Route, make_plan
from podwire_node.routes.reach import Reach
from podwire_node.routes.routing import RouteError, Routing

log = logging.getLogger(__name__)

P = ParamSpec("P")


class RouteKeeper:
    """One node's ways to the others' pods.

    What the kernel refuses is tried again; the rest goes on. sync() works on the network
    namespace that `routing` was made in, and has to be called in it.
    """

    def __init__(self, node: str, routing: Routing, overlay: OverlaySettings | None = None) -> None:
        self._node = node
        self._routing = routing
        self._settings = overlay or OverlaySettings()
        self._peers = Peers()
        self._plan = Plan()
        self._refused: list[str] = []
        self._told: list[str] = []
        self._dirty = True
        self._blocked = False  # something else has the name of the overlay's device
        self._backoff = Backoff()
        self.sent = 0  # changes sent to the kernel since the start

    @property
    def count(self) -> int:
        """Routes that should be in force."""
        return len(self._plan.routes)

    @property
    def mtu(self) -> int:
        """What new pods should have, in bytes; 0 when it is not known (before the first sync)."""
        return self._plan.mtu

    @property
    def problems(self) -> list[str]:
        """Routes that cannot be, and why."""
        return [*(str(error) for error in self._plan.problems), *self._refused]

    @property
    def unfit(self) -> Sequence[ObjectError]:
        """Those of the problems that are an object's fault."""
        return self._plan.problems

    def take(self, nodes: Sequence[Node]) -> None:
        """The cluster's nodes as they are now."""
        self._peers = peers_of(nodes, self._node)
        self.compare()

    def compare(self) -> None:
        """Something changed: the next sync() compares and tries everything, refused or not."""
        self._dirty = True

    def sync(self, now: float) -> float | None:
        """Make the kernel's state ours. Answers when to try again, None when all is well.

        What was refused is tried again with back-off, and at once when anything changes: a
        refusal changes nothing, so that cannot go round in circles.
        """
        if not self._dirty and (not self._refused or not self._backoff.due(now)):
            return self._backoff.until if self._refused else None
        self._dirty = False
        self._told, self._refused = self._refused, []
        try:
            self._settle()
        except RouteError as error:  # what could not be read, the next try reads
            self._refuse(error)
        if self._refused:
            return self._backoff.failed(now)
        self._backoff.succeeded()
        return None

    def _settle(self) -> None:
        """Compare once and send what differs. Raises RouteError when the kernel cannot be read."""
        found = self._find()
        table = self._routing.read(found.index if found else 0)
        self._decide(table.reach)
        device = self._settle_device(found)
        index = device.index if device else 0
        if device and (found is None or found.index != index):
            table = self._routing.read(index)  # what led over the former device went with it
        leftovers = self._settle_entries(index) if self._plan.device and device else ()
        self._settle_routes(table.routes, overlay=device is not None)
        for entry in leftovers:
            self._try("del", entry, self._routing.overlay.remove_entry, entry, index)
        if device and self._settings.mode == Mode.DIRECT:
            self._try("del", device.device, self._routing.overlay.remove, device)

    def _find(self) -> Found | None:
        """The overlay's device; None as well when something else has its name."""
        self._blocked = False
        try:
            return self._routing.overlay.read()
        except NameTakenError as error:
            self._blocked = True
            self._refuse(error)
            return None

    def _decide(self, reach: Reach) -> None:
        """Make the plan anew, and tell of problems that are new."""
        mtu = self._routing.mtu(reach.uplink(self._peers.underlay))
        before, self._plan = self._plan, make_plan(self._peers, self._settings, reach, mtu)
        for problem in self._plan.problems:
            if problem not in before.problems:
                log.warning("%s", problem)
        if self._plan.mtu != before.mtu:
            log.info("routes: new pods get mtu %d", self._plan.mtu)

    def _settle_device(self, found: Found | None) -> Found | None:
        """Make the device, or make it right. Answers it; None when there is none."""
        want, overlay = self._plan.device, self._routing.overlay
        if want is None or self._blocked or not (found or self._plan.needed):
            return found
        if found and not found.device.same_tunnel(want):
            self._try("del", found.device, overlay.remove, found)
            found = None
        if found is None:
            self._try("add", want, overlay.make, want)
            found = self._find()
        if found and overlay.differs(found, want):
            self._try("set", want, overlay.adjust, found, want)
        return found

    def _settle_entries(self, index: int) -> Iterable[Entry]:
        """Add what is missing on the device. Answers what is too much; routes may need it still."""
        have = self._routing.overlay.entries(index)
        difference = delta(have, self._plan.entries)
        for key, entry in difference.changed.items():
            if isinstance(entry, Forward):  # the kernel replaces any other in one step
                self._try("del", have[key], self._routing.overlay.remove_entry, have[key], index)
        for entry in (*difference.changed.values(), *difference.added.values()):
            self._try("add", entry, self._routing.overlay.add, entry, index)
        return [entry for key, entry in have.items() if key in difference.removed]

    def _settle_routes(self, have: Mapping[str, Route], *, overlay: bool) -> None:
        """Routes that changed are replaced. Without its device, none leads into the overlay."""
        routes = self._plan.routes.items()
        want = {key: route for key, route in routes if overlay or not route.device}
        difference = delta(have, want)
        for destination in sorted(difference.removed):
            self._try("del", have[destination], self._routing.remove, have[destination])
        for route in difference.changed.values():
            self._try("replace", route, self._routing.replace, route)
        for route in difference.added.values():
            self._try("add", route, self._routing.add, route)

    def _try(
        self, verb: str, thing: object, do: Callable[P, None], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Send one change; a refusal is remembered and the next one goes on."""
        try:
            do(*args, **kwargs)
        except RouteError as error:
            self._refuse(error)
        else:
            self.sent += 1
            log.info("routes: %s %s", verb, thing)

    def _refuse(self, error: RouteError) -> None:
        if str(error) not in self._told:
            log.warning("%s", error)
        self._refused.append(str(error))
