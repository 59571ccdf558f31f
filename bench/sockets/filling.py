"""One cluster put in force for sockets, or for packets, or for both; then changed.

    python bench/sockets/filling.py ebpf 10000 10 --cgroup … --folder …  ─►  {"load_s": …} (Filled)

nftables     our tables; kube-proxy: its layout
ebpf         the maps alone, for what sockets cost by themselves
both         the maps beside our complete tables, as an agent does it

Run in a process and a network namespace of its own. Tables stay; maps and programs stay where they
are pinned. The clock runs from decoded objects until the kernel holds them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).parents[1]))

import changes
import msgspec
from layouts import NODE, Layout
from layouts.kube_proxy import KubeProxyLayout
from layouts.podwire import Podwire
from memory import resident_mb
from programming import decoded

from podwire_core.nft.kernel import Kernel
from podwire_core.nft.owner import Owner
from podwire_core.objects import EndpointSlice, KubernetesObject
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf.plane import Place, Plane, open_plane
from podwire_proxy.services import TABLES, Services
from podwire_proxy.sockets import Sockets
from sockets.objects import everything

T = TypeVar("T")

_BATCH_ROUNDS = 5


class Filled(msgspec.Struct, frozen=True):
    """What was measured. Seconds, milliseconds, rows a second, MB of 10^6 bytes; zero: no such."""

    engine: str
    services: int
    endpoints: int
    load_s: float
    rss_mb: float
    compile_s: float = 0.0
    reopen_s: float = 0.0  # a restart: everything is pinned already
    plan_s: float = 0.0  # of load_s, what is not the kernel's
    rows: int = 0
    batch_rows_s: float = 0.0
    change_ms: dict[str, list[float]] = {}


class SocketLayout:
    """Implements layouts.Layout: objects ─► Services ─► Sockets ─► Plane; nftables before it."""

    def __init__(self, plane: Plane, *, packets: bool) -> None:
        self._plane = plane
        self._snapshot = Snapshot()
        self._sockets = Sockets()
        self._owner = Owner(Kernel(), TABLES) if packets else None
        if self._owner:
            self._owner.adopt()
        in_force = self._owner.in_force if self._owner else None
        self._services = Services(NODE, in_force, sockets=self._sockets)
        self.plan_s, self.rows = 0.0, 0

    def load(self, objects: Sequence[KubernetesObject]) -> None:
        """See Layout.load."""
        began = time.perf_counter()
        several = [Change(type(each), each.name, each) for each in objects]
        for change in several:
            self._snapshot.apply(change)
        self._services.update(self._snapshot, several)
        if self._owner:
            self._owner.sync(self._services.wanted)
        taken = self._sockets.take()
        self.plan_s, self.rows = time.perf_counter() - began, taken.size
        self._plane.apply(taken)

    def change(self, now: EndpointSlice) -> None:
        """See Layout.change."""
        change = Change(EndpointSlice, now.name, now)
        self._snapshot.apply(change)
        answer = self._services.update(self._snapshot, [change])
        if self._owner:
            self._owner.change(answer)
        self._plane.apply(self._sockets.take())


def measure(given: argparse.Namespace) -> Filled:
    """Fill and change. Raises NftError, BpfError, Unsupported, CalledProcessError."""
    if given.engine in {"nftables", "kube-proxy"}:
        layout: Layout = Podwire() if given.engine == "nftables" else KubeProxyLayout()
        load_s, times = _programmed(layout, given)
        return Filled(
            given.engine, given.services, given.endpoints, load_s, resident_mb(), change_ms=times
        )
    place = Place(given.cgroup, given.folder)
    compile_s, plane = _timed(lambda: open_plane(place))
    sockets = SocketLayout(plane, packets=given.engine == "both")
    load_s, times = _programmed(sockets, given)
    plane.attach()
    batch = _batch_rate(plane) if given.changes else 0.0
    plane.close()
    reopen_s, plane = _timed(lambda: open_plane(place))
    plane.close()
    return Filled(
        given.engine,
        given.services,
        given.endpoints,
        load_s,
        resident_mb(),
        compile_s,
        reopen_s,
        sockets.plan_s,
        sockets.rows,
        batch,
        times,
    )


def _programmed(layout: Layout, given: argparse.Namespace) -> tuple[float, dict[str, list[float]]]:
    """Seconds of the load, and milliseconds of each change by its kind."""
    objects = list(everything(given.services, given.endpoints))
    load_s, _ = _timed(lambda: layout.load(objects))
    objects.clear()
    times: dict[str, list[float]] = {kind.value: [] for kind in changes.Kind}
    for each in changes.slice_changes(given.services, given.endpoints, given.changes):
        now = decoded(each.document, EndpointSlice)
        seconds, _ = _timed(lambda: layout.change(now))  # noqa: B023 - called here
        times[each.kind.value].append(seconds * 1000)
    return load_s, times


def _batch_rate(plane: Plane) -> float:
    """Rows a second when every frontend is written once more, as it is."""
    rows = plane.tables.frontends.read()
    took = min(_timed(lambda: plane.tables.frontends.update(rows))[0] for _ in range(_BATCH_ROUNDS))
    return len(rows) / took


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=("nftables", "kube-proxy", "ebpf", "both"))
    parser.add_argument("services", type=int)
    parser.add_argument("endpoints", type=int)
    parser.add_argument("--changes", type=int, default=0)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--folder", type=Path)
    sys.stdout.buffer.write(msgspec.json.encode(measure(parser.parse_args())))


if __name__ == "__main__":
    main()
