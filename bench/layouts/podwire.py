"""Our proxy without its agent: decoded objects ─► Services ─► Owner ─► the kernel."""

from __future__ import annotations

from collections.abc import Sequence

from layouts import NODE
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_proxy.services import TABLES, Services


class Podwire:
    """Implements layouts.Layout."""

    def __init__(self) -> None:
        self._snapshot = Snapshot()
        self._owner = Owner(Kernel(), TABLES)
        self._owner.adopt()
        self._services = Services(NODE, self._owner.in_force)

    def load(self, objects: Sequence[KubernetesObject]) -> None:
        """See Layout.load."""
        changes = [Change(type(each), each.name, each) for each in objects]
        for change in changes:
            self._snapshot.apply(change)
        self._services.update(self._snapshot, changes)
        self._owner.sync(self._services.wanted)

    def change(self, now: EndpointSlice) -> None:
        """See Layout.change."""
        change = Change(EndpointSlice, now.name, now)
        self._snapshot.apply(change)
        self._owner.change(self._services.update(self._snapshot, [change]))
