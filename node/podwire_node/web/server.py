"""The web thread, as the agent's loop sees it.

    agent's loop ── set_health_checks(…) ──► Sites, in the thread's loop ──► sockets
                 ◄── bell, problems, unusable ──┘

Nothing here waits but close(), which waits a second at most. The thread works in the network
namespace of whoever makes it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from podwire_core.errors import ObjectError
from podwire_core.objects import ObjectName
from podwire_node.web import pages
from podwire_node.web.answer import NOT_FOUND, Answer, Asked, Handler
from podwire_node.web.checks import Shares, share_out
from podwire_node.web.descriptors import make_room
from podwire_node.web.health import HealthState
from podwire_node.web.listener import EVERYWHERE
from podwire_node.web.room import Room
from podwire_node.web.sites import Place, Site, Sites
from podwire_proxy.health import HealthCheck

log = logging.getLogger(__name__)

_FAREWELL_S = 1.0
_FIELD = "spec.healthCheckNodePort"


class Fixed(NamedTuple):
    """A site of the agent's own. name: "healthz" or "metrics", for whoever reads a problem."""

    name: str
    address: str
    port: int
    handler: Handler


class Web:
    """A context manager: serves until it is closed.

    health: judges for the Services' health checks. fixed: the agent's own sites.
    """

    def __init__(self, health: HealthState, fixed: Sequence[Fixed] = ()) -> None:
        self._health = health
        self._fixed: dict[Hashable, Site] = {
            each.name: Site(Place((each.address,), each.port), each.handler) for each in fixed
        }
        self._most = make_room()
        self._checks: Mapping[ObjectName, HealthCheck] = {}
        self._addresses: tuple[str, ...] = EVERYWHERE
        self._shares = Shares({}, {})
        self._reasons: Mapping[Hashable, str] = {}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended = False
        self._loop = asyncio.new_event_loop()
        self._sites = Sites(Room(), self._hear)
        self._task = self._loop.create_task(self._sites.keep())
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)
        self._thread.start()
        self._offer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # ------------------------------------------------------------- for the agent's loop

    def set_health_checks(
        self,
        checks: Mapping[ObjectName, HealthCheck],
        addresses: Iterable[str] = EVERYWHERE,
    ) -> None:
        """The health check ports from now on, and where they listen.

        addresses: literal ones of this node; EVERYWHERE is all of both families.
        """
        where = tuple(addresses)
        if checks == self._checks and where == self._addresses:
            return
        moved = where != self._addresses or _ports(checks) != _ports(self._checks)
        self._checks, self._addresses = dict(checks), where
        if moved:  # else only numbers have, which are looked up when someone asks
            self._offer()

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """What wakes the loop when problems or unusable have changed, and what to call then."""
        yield self._bell, lambda: os.eventfd_read(self._bell)

    @property
    def problems(self) -> Sequence[str]:
        """Sites of our own that cannot listen, each a sentence that says what to do."""
        reasons = self._reasons
        return [
            f"{name}: cannot listen at {_spelled(site.place)}: {reasons[name]};"
            f" free it, or set another --{name}-bind-address"
            for name, site in self._fixed.items()
            if name in reasons
        ]

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """Services whose health check port is not served here, and why."""
        reasons = self._reasons  # the thread may put others in its place
        refused = {
            name: f"this node cannot listen at port {port}: {reasons[name]}"
            for name, port in self._shares.granted.items()
            if name in reasons
        }
        refused.update(self._shares.refused)
        return [
            ObjectError("", f"Service {name}", _FIELD, refused[name]) for name in sorted(refused)
        ]

    def close(self) -> None:
        """Stop listening and hang up."""
        if self._ended:
            return
        self._ended = True
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_FAREWELL_S)
        if not self._thread.is_alive():  # else it might ring
            os.close(self._bell)

    # --------------------------------------------------------------------- the sites

    def _offer(self) -> None:
        before, self._shares = self._shares.refused, share_out(self._checks, self._most)
        for name, why in self._shares.refused.items():
            if before.get(name) != why:
                _say(f"Service {name}: {_FIELD}: {why}")
        sites = dict(self._fixed)
        for name, port in self._shares.granted.items():
            sites[name] = Site(Place(self._addresses, port), partial(self._answer, name))
        self._loop.call_soon_threadsafe(self._sites.want, sites)

    # ------------------------------------------------------------------ in the thread

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(_farewell())
        self._loop.close()

    def _answer(self, name: ObjectName, _asked: Asked) -> Answer:
        check = self._checks.get(name)
        if check is None:  # its port is about to be closed
            return NOT_FOUND
        healthy = self._health.current.healthy
        return pages.service_page(name, check.local_endpoints, proxy_healthy=healthy)

    def _hear(self, reasons: dict[Hashable, str]) -> None:
        """Sites that cannot listen; each reason is said once."""
        for key, reason in reasons.items():
            if self._reasons.get(key) != reason:
                _say(f"{_titled(key)}: cannot listen: {reason}; trying again")
        self._reasons = reasons
        os.eventfd_write(self._bell, 1)


async def _farewell() -> None:
    """Who was accepted while we ended comes in, finds all closed, and goes."""
    accepting = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*accepting, return_exceptions=True)
    await asyncio.sleep(0)


def _ports(checks: Mapping[ObjectName, HealthCheck]) -> dict[ObjectName, int]:
    return {name: check.port for name, check in checks.items()}


def _titled(key: Hashable) -> str:
    return f"Service {key}: {_FIELD}" if isinstance(key, ObjectName) else str(key)


def _spelled(place: Place) -> str:
    """HOST:PORT, as its setting has it."""
    address = place.addresses[0]
    return f"[{address}]:{place.port}" if ":" in address else f"{address}:{place.port}"


def _say(sentence: str) -> None:
    log.warning("%s", sentence, extra={"component": "web"})
