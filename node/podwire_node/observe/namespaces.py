"""Which addresses a network namespace has, by its cookie, as programs at sockets know it.

    cookie ─► known? ─► its addresses
                no ─► every namespace that can be found is entered (stale/namespaces.py):
                      its cookie (SO_NETNS_COOKIE, Linux 5.14; before, see `reached`), its addresses

Nothing tells of a namespace that comes, so it is looked for when an unknown cookie calls; that may
take a twentieth of the time, and a cookie that was not found waits for the next look.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from contextlib import closing

from podwire_core.family import spelled
from podwire_ebpf.features import netns_cookie
from podwire_node.observe.bounds import Share
from podwire_node.stale.addresses import Addresses
from podwire_node.stale.namespaces import everywhere

_SHARE = 20
_AGAIN_S = 1.0  # until a cookie that was not found is looked for again
_LINK_LOCAL, _LOOPBACK = ("fe80:", "169.254."), ("127.", "::1")

#: The cookie of the calling thread's network namespace; None where it cannot be told.
Cookie = Callable[[], int | None]


class Namespaces:
    """For one thread. reached: asked for the cookie on kernels that have no SO_NETNS_COOKIE.

    refusals: see everywhere().
    """

    def __init__(
        self,
        reached: Cookie = lambda: None,
        refusals: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._reached, self._refusals = reached, refusals
        self._known: dict[int, tuple[str, ...]] = {}
        self._share = Share(_SHARE)
        self._missed: dict[int, float] = {}

    def addresses(self, cookie: int) -> tuple[str, ...] | None:
        """Those of a namespace, without loopback and link-local ones; None where nobody knows."""
        if cookie not in self._known and self._may_look(cookie):
            began = time.monotonic()
            self.look()
            self._share.rest(began)
            if cookie not in self._known:
                self._missed[cookie] = time.monotonic()
        return self._known.get(cookie)

    def look(self) -> dict[int, tuple[str, ...]]:
        """All that can be found now."""
        told = (each for each in everywhere(self._told, self._refusals) if each[0])
        self._known, self._missed = dict(told), {}
        return self._known

    def _may_look(self, cookie: int) -> bool:
        missed = self._missed.get(cookie)
        waited = missed is None or time.monotonic() - missed >= _AGAIN_S
        return bool(cookie) and waited and self._share.due

    def _told(self) -> tuple[int, tuple[str, ...]]:
        """By a thread inside; 0 where it cannot be told."""
        return netns_cookie() or self._reached() or 0, _own_addresses()


def _own_addresses() -> tuple[str, ...]:
    with closing(Addresses()) as asked:
        found = [spelled(ipaddress.ip_address(each)) for each in asked.read()]
    left_out = (*_LINK_LOCAL, *_LOOPBACK)
    return tuple(sorted(each for each in found if not each.startswith(left_out)))
