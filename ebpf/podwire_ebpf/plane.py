"""The plane: maps, programs and attachments of one place, as one value to work with.

```
 open_plane ─► rights, place, features ─► lock ─► maps ─► programs ─► Plane
                                                    │       │
                              pinned already: taken over    └─ not pinned yet: a child compiles
 apply      rows into the maps, in an order of which every beginning is right
 attach     links made, or swapped one by one; what an earlier text left behind goes
 close      descriptors alone: what is pinned goes on serving
 remove     all of it
```

Maps that are new get their rows before `attach`, so that no socket meets an empty plane: until then
the programs before them serve, from their own maps. Only one process opens a plane, others look
(open_tables, prove).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress

from podwire_ebpf import applying, external, links, pins, proof, syscall
from podwire_ebpf.errors import BpfError, refusals
from podwire_ebpf.features import Features, require_features, require_rights
from podwire_ebpf.layout import TABLES
from podwire_ebpf.place import Place, require
from podwire_ebpf.proof import Proof
from podwire_ebpf.records import Flag, Settings
from podwire_ebpf.ring import Events
from podwire_ebpf.rows import Change
from podwire_ebpf.sources import SOCKETS
from podwire_ebpf.store import Store, maps_folder
from podwire_ebpf.tables import Table, Tables

__all__ = ["External", "Place", "Plane", "open_plane", "open_tables", "prove", "remove"]

Step = Callable[[str], None]


def _unwatched(_: str) -> None:
    """Nobody wants to know how far it came."""


class External:
    """programs: descriptors by function.  The maps are the plane's, as are the descriptors."""

    def __init__(self, programs: Mapping[str, int], maps: Mapping[str, int]) -> None:
        self.programs = programs
        self.opening = Table(external.OPENING, maps["opening"])
        self.connections = Table(external.CONNECTIONS, maps["connections"])
        self.fragments = Table(external.FRAGMENTS, maps["fragments"])
        self.insiders = Table(external.INSIDERS, maps["insiders"])


class Plane:
    """One place's plane, which its process alone changes: by one thread at a time, read by any.

    fresh: the maps are new, and empty.  programs: descriptors by function.
    """

    def __init__(
        self,
        place: Place,
        features: Features,
        lock: pins.Lock,
        store: Store,
        tables: Tables,
        *,
        fresh: bool,
        step: Step,
    ) -> None:
        self.place, self.features, self.tables, self.fresh = place, features, tables, fresh
        self.programs = store.programs(SOCKETS)
        self._lock, self._store, self._step = lock, store, step
        self._external: External | None = None

    def apply(self, change: Change) -> None:
        """Put a change in the maps.

        Raises TableFull, which says what is not in; BpfError when the kernel refuses for any other
        reason, and then it is not known what is in: read it (tables) before the next change.
        """
        with refusals("the maps cannot be changed"):
            applying.apply(self.tables, change)

    def attach(self) -> None:
        """Have the programs attached, each once.

        Raises BpfError, and then none is, so that nftables serves; where another podwire is
        attached, what was attached stays.
        """
        with refusals(self.place.folder):
            folder = self.place.folder / pins.LINKS
            links.attach(self.place.cgroup, folder, self.programs, self._step)
            pins.sweep(self.place.folder, keep=self._store.names)

    def prove(self) -> Proof:
        """Look whether they are attached, and try (proof.py). May take some ten milliseconds."""
        with refusals(self.place.cgroup):
            return proof.prove(self.place, self.tables.canaries)

    @property
    def pinned(self) -> bool:
        """Whether another process would find these very maps; not, where someone unpinned them."""
        try:
            found = open_tables(self.place)
        except BpfError:
            return False
        with closing(found), suppress(OSError):
            mine, theirs = self.tables.frontends.descriptor, found.frontends.descriptor
            return syscall.map_info(mine).id == syscall.map_info(theirs).id
        return False

    def settings(self, node: int, flags: Flag = Flag(0)) -> None:  # noqa: B008 - an immutable number
        """Tell the programs what to do. node: the cookie of the node's own network namespace."""
        with refusals("the settings cannot be changed"):
            self.tables.settings.update({0: Settings(node, flags)})

    def events(self) -> Events:
        """A reader of what the programs tell while OBSERVED is set. One at a time."""
        with refusals("the ring of events"):
            return Events(self.tables.ring, self.tables.lost)

    def external(self) -> External:
        """Programs and maps for traffic from outside; the first time they are compiled, in seconds.

        Raises BpfError. What is attached to links (uplink.py) needs this only to be changed.
        """
        if self._external is None:
            with refusals(self.place.folder):
                maps = self._store.more(external.TABLES.values())
                self._external = External(self._store.programs(external.MODULE), maps)
        return self._external

    def close(self) -> None:
        """Give descriptors and the lock back; everything stays attached."""
        self.tables.close()
        self._store.close()
        self._lock.close()


def open_plane(place: Place, *, step: Step = _unwatched) -> Plane:
    """Take over what is pinned, and make what is missing; nothing is attached yet.

    Compiling takes seconds. step: is told each thing that was done.
    Raises Unsupported, Busy or BpfError.
    """
    require_rights()
    require(place)
    features = require_features()
    with ExitStack() as undo:
        lock = pins.Lock(place.folder)
        undo.callback(lock.close)
        with refusals(place.folder):
            pins.sweep(place.folder)
            store = Store(place.folder, features, step)
            undo.callback(store.close)
            maps, fresh = store.maps()
            tables = _tables(maps)
            undo.callback(tables.close)
            plane = Plane(place, features, lock, store, tables, fresh=fresh, step=step)
        undo.pop_all()
    return plane


# ------------------------------------------------------------------- for other processes


def open_tables(place: Place) -> Tables:
    """The maps that are pinned, to read alone: nothing is made, locked or attached.

    Raises BpfError when there are none of this version of podwire's.
    """
    folder = maps_folder(place.folder)
    wanted = pins.shapes(TABLES.values(), ring=True)
    with refusals(place.folder):
        taken = pins.open_maps(folder, wanted, syscall.READ_ONLY)
    if taken is None:
        raise BpfError(
            f"no maps of this version are pinned in {place.folder}: no agent serves sockets there"
        )
    return _tables(taken)


def _tables(maps: Mapping[str, int]) -> Tables:
    """Tables that own these descriptors, from now on."""
    with ExitStack() as undo:
        for each in maps.values():
            undo.callback(os.close, each)
        made = Tables(maps)
        undo.pop_all()
    return made


def prove(place: Place) -> Proof:
    """Plane.prove, for a process that has no plane."""
    tables = open_tables(place)
    with closing(tables), refusals(place.cgroup):
        return proof.prove(place, tables.canaries)


def remove(place: Place) -> None:
    """Detach and unpin everything; sockets that were translated keep their connections.

    It is fine if nothing is there any more. Raises Busy while an agent works in the folder, and
    BpfError, before anything is changed, for one that is not on bpffs: nobody pinned a thing there.
    """
    with refusals(place.folder):
        if not place.folder.is_dir():
            return
    with closing(pins.Lock(place.folder)), refusals(place.folder):
        links.detach_all(place.folder / pins.LINKS)
        for each in place.folder.iterdir():
            if each.name.startswith((pins.MAPS, pins.PROGRAMS)):
                pins.remove_folder(each)
        with suppress(OSError):  # what others pinned there is theirs
            place.folder.rmdir()
