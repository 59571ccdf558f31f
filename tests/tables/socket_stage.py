"""Services told to socket programs' maps, which are dicts here: beside proxy_stage's nftables.

stage = SocketStage()
change = stage.put(service("web"), endpoints("web", 10, 11))
counts(change)                                {"+frontends": 1, "+endpoints": 2}
stage.answer("10.96.0.10:80/TCP")             {"10.244.0.10:8080", …}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy_stage import HERE

from podwire_core.objects import KubernetesObject
from podwire_core.snapshot import Change as Told
from podwire_core.snapshot import Snapshot
from podwire_ebpf.fake import FakePlane
from podwire_ebpf.records import EndpointKey, FrontendKey
from podwire_ebpf.rows import Change
from podwire_proxy.frontend import Frontend
from podwire_proxy.options import Options
from podwire_proxy.services import Services
from podwire_proxy.sockets import Reach, Room, Sockets
from podwire_proxy.sockets.wishes import key_of

#: What a socket hears: endpoints; none of them is a refusal; None passes to nftables.
Answer = frozenset[tuple[str, int]] | None


class SocketStage:
    """Objects in, rows out, into a fake's maps."""

    def __init__(
        self,
        reach: Reach | None = None,
        options: Options | None = None,
        room: Room | None = None,
        plane: FakePlane | None = None,
    ) -> None:
        self.options = options or Options()
        self.reach = reach or Reach(masquerade_all=self.options.masquerade_all)
        self.room, self.plane = room, plane or FakePlane()
        self.snapshot = Snapshot()
        self.sockets = Sockets(self.reach, room)
        self.services = Services(HERE, None, self.options, self.sockets)

    def put(self, *objects: KubernetesObject) -> Change:
        """What is applied when these objects come, or come otherwise, in one batch."""
        return self.take([Told(type(each), each.name, each) for each in objects])

    def remove(self, *objects: KubernetesObject) -> Change:
        """What is applied when they go."""
        return self.take([Told(type(each), each.name, None) for each in objects])

    def take(self, changes: Sequence[Told]) -> Change:
        """What is applied for some changes."""
        self.tell(changes)
        change = self.sockets.take()
        self.plane.apply(change)
        return change

    def tell(self, changes: Sequence[Told]) -> None:
        """Objects change, and nothing is applied yet."""
        self.services.update(self.snapshot, [each for each in changes if self.snapshot.apply(each)])

    def again(self, *, told_first: bool = True) -> Change:
        """A restart over the same maps: what is applied."""
        self.sockets = Sockets(self.reach, self.room)
        self.services = Services(HERE, None, self.options, self.sockets)
        if told_first:
            self.services.update(self.snapshot, self.snapshot.changes())
        change = adopted(self.sockets, self.plane)
        self.plane.apply(change)
        return change

    def frontend(self, text: str) -> Frontend:
        """A frontend that is served, by its spelling (`10.96.0.10:80/TCP`)."""
        return next(each for each in self.services._served if str(each) == text)

    def answer(self, text: str) -> Answer:
        """What a socket of this node hears, by the maps."""
        key = key_of(self.frontend(text))
        return None if key is None else answer(self.plane, key)


def adopted(sockets: Sockets, plane: FakePlane) -> Change:
    """What makes a plane's rows those that are wanted."""
    tables = plane.tables
    return sockets.adopt(
        tables.frontends.rows.items(), tables.endpoints.rows.items(), tables.members.rows.items()
    )


def answer(plane: FakePlane, key: FrontendKey) -> Answer:
    """As the programs do: the row, and every slot below its count. A hole is a broken promise."""
    row = plane.tables.frontends.rows.get(key)
    if row is None:
        return None
    rest = range(len(row.first), row.count)
    slots = [*row.first, *(plane.tables.endpoints.rows[EndpointKey(row.list, n)] for n in rest)]
    return frozenset((each.address, each.port) for each in slots)


def state(plane: FakePlane) -> tuple[object, ...]:
    """All rows, without what depends on the way: numbers of counters, and who has which slot."""
    tables = plane.tables
    frontends = {
        key: (row._replace(counter=0, first=()), answer(plane, key))
        for key, row in tables.frontends.rows.items()
    }
    return frontends, set(tables.endpoints.rows), dict(tables.members.rows)


def counts(change: Change) -> dict[str, int]:
    """`{"+endpoints": 1, "-frontends": 2}`."""
    found: dict[str, int] = {}
    for name in ("frontends", "endpoints", "members"):
        for value in getattr(change, name).values():
            sign = f"{'-' if value is None else '+'}{name}"
            found[sign] = found.get(sign, 0) + 1
    return found


def watched(stage: SocketStage, look: Callable[[], None]) -> FakePlane:
    """The stage's maps from now on in a plane that lets `look` see each step."""
    plane = FakePlane(look)
    plane.tables = stage.plane.tables
    stage.plane = plane
    return plane
