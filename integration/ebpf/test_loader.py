"""Rows in and out of the kernel's maps, at every edge of a batch; and what a plane weighs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from podwire_ebpf import codecs, layout, pins, syscall
from podwire_ebpf.errors import TableFull
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import (
    Counter,
    Endpoint,
    EndpointKey,
    Flag,
    Frontend,
    FrontendKey,
    Lost,
    Member,
    MemberKey,
    Settings,
)
from podwire_ebpf.rows import Change
from podwire_ebpf.table import BATCH, Table, possible_cpus

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def plane(compiled: Place) -> Iterator[Plane]:
    made = open_plane(compiled)
    yield made
    made.close()


@pytest.fixture
def emptied(plane: Plane) -> Iterator[Plane]:
    """A plane whose rows are gone after the test."""
    yield plane
    plane.tables.frontends.delete(plane.tables.frontends.read())
    plane.tables.endpoints.delete(plane.tables.endpoints.read())
    plane.tables.members.delete(plane.tables.members.read())
    plane.tables.addresses.delete(plane.tables.addresses.read())


def endpoints(count: int, number: int = 7) -> dict[EndpointKey, Endpoint]:
    return {
        EndpointKey(number, slot + layout.FIRST): Endpoint(
            f"10.{slot >> 16}.{slot >> 8 & 255}.{slot & 255}", 8080
        )
        for slot in range(count)
    }


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, 10_001])
def test_as_many_rows_come_out_as_went_in(emptied: Plane, count: int) -> None:
    rows = endpoints(count)
    table = emptied.tables.endpoints
    table.update(rows)
    assert table.read() == rows
    assert sorted(table.items()) == sorted(rows.items())
    assert len(dict(table.raw())) == count
    table.delete(rows)
    assert table.read() == {}


def test_rows_that_are_not_there_are_deleted_in_silence(emptied: Plane) -> None:
    table = emptied.tables.endpoints
    rows = endpoints(100)
    table.update({key: value for key, value in rows.items() if key.slot % 3})
    table.delete(rows)
    assert table.read() == {}
    table.delete(rows)


def test_a_row_is_got_by_its_key(emptied: Plane) -> None:
    table = emptied.tables.addresses
    table.update({"10.0.0.1": Member(), "fd00::1": Member()})
    assert table.get("fd00::1") == Member()
    assert table.get("fd00::2") is None
    assert set(table.read()) == {"10.0.0.1", "fd00::1"}


def test_what_each_cpu_counted_is_summed(plane: Plane) -> None:
    table = plane.tables.lost
    size = syscall.map_info(table.descriptor).made.value
    assert size == 8
    told = b"".join((number + 1).to_bytes(8, sys.byteorder) for number in range(possible_cpus()))
    syscall.update(table.descriptor, bytes(4), told)
    assert table.get(0) == Lost(sum(range(1, possible_cpus() + 1)))
    assert table.read() == {0: Lost(sum(range(1, possible_cpus() + 1)))}
    table.update({0: Lost(5)})
    assert table.get(0) == Lost(5), "what is written replaces every CPU's"
    table.update({0: Lost(0)})
    assert table.read() == {}


def test_counters_that_count_nothing_are_left_out(plane: Plane) -> None:
    table, block = plane.tables.counters, layout.COUNTERS.block
    each = layout.COUNTERS.value.size
    element = {9: Counter(2, 1), 63: Counter(0, 4)}
    told = bytearray(table.element_size)
    for cpu in range(possible_cpus()):
        for number, counter in element.items():
            begin = cpu * block * each + number * each
            told[begin : begin + each] = codecs.PAIR.pack(*counter)
    syscall.update(table.descriptor, (3).to_bytes(4, sys.byteorder), bytes(told))
    wanted = {
        3 * block + number: Counter(
            counter.connections * possible_cpus(), counter.refused * possible_cpus()
        )
        for number, counter in element.items()
    }
    assert table.read() == wanted
    assert {number: table.get(number) for number in wanted} == wanted
    assert table.get(3 * block + 1) == Counter(0, 0)
    assert table.get(layout.COUNTERS.max_entries) is None
    assert [table.decode(raw) for _, raw in table.raw()] == list(wanted.values())
    with pytest.raises(ValueError, match="read alone"):
        table.update(wanted)
    syscall.update(table.descriptor, (3).to_bytes(4, sys.byteorder), bytes(len(told)))
    assert table.read() == {}


def test_settings_are_one_row(plane: Plane) -> None:
    plane.settings(4711, Flag.OBSERVED | Flag.LOCALHOST)
    assert plane.tables.settings.get(0) == Settings(4711, Flag.OBSERVED | Flag.LOCALHOST)


def test_a_map_without_batches_is_read_and_written_row_by_row() -> None:
    """Per-CPU arrays before Linux 5.13, as the kernel answers then: ENOTSUPP."""
    made = syscall.create_map("pw_test", syscall.MapKind(1, 16, 24, 100, 1))
    table = Table(layout.ENDPOINTS, made)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: object) -> syscall.Part:
            raise OSError(524, "ENOTSUPP")

        patch.setattr(syscall, "lookup_batch", refuse)
        patch.setattr(syscall, "update_batch", lambda *_: (0, 524))
        patch.setattr(syscall, "delete_batch", lambda *_: (0, 524))
        rows = endpoints(50)
        table.update(rows)
        assert table.read() == rows
        table.delete(endpoints(60))
        assert table.read() == {}
    table.close()


def test_a_full_map_takes_what_it_has_room_for_and_names_the_rest() -> None:
    made = syscall.create_map("pw_test", syscall.MapKind(1, 16, 24, 10, 1))
    table = Table(layout.ENDPOINTS, made)
    table.update(endpoints(4))
    refused = table.put(endpoints(14).items())
    assert len(refused) == 4
    assert len(table.read()) == 10
    assert set(table.read()).isdisjoint(refused)
    assert table.read().keys() | set(refused) == endpoints(14).keys()
    assert table.put(endpoints(4).items()) == [], "a row that is there has room"
    table.close()


def test_a_change_is_applied_whole(emptied: Plane) -> None:
    key, other = FrontendKey("10.96.0.1", 80, 6), FrontendKey("fd00::1", 53, 17)
    first = tuple(Endpoint(f"10.1.0.{number}", 80) for number in range(16))
    member = MemberKey(7, "10.1.0.1", 80)
    emptied.apply(
        Change({key: Frontend(7, 18, first=first)}, endpoints(2), {member: Member()}, {"::1": True})
    )
    assert emptied.tables.frontends.read() == {key: Frontend(7, 18, first=first)}
    assert emptied.tables.endpoints.read() == endpoints(2)
    assert emptied.tables.members.read() == {member: Member()}
    emptied.apply(
        Change(
            {key: None, other: Frontend(9, 0)},
            dict.fromkeys(endpoints(2)),
            {member: None},
            {"::1": False, "10.0.0.1": True},
        )
    )
    assert emptied.tables.frontends.read() == {other: Frontend(9, 0)}
    assert emptied.tables.endpoints.read() == {}
    assert emptied.tables.members.read() == {}
    assert set(emptied.tables.addresses.read()) == {"10.0.0.1"}
    emptied.apply(Change())


def test_frontends_whose_endpoints_have_no_room_are_left_out(emptied: Plane) -> None:
    room = layout.ENDPOINTS.max_entries
    emptied.tables.endpoints.update(endpoints(room - 2, number=1))
    first = tuple(Endpoint("10.1.0.1", 80) for _ in range(16))
    fits, misfit = FrontendKey("10.96.0.1", 80, 6), FrontendKey("10.96.0.2", 80, 6)
    with pytest.raises(TableFull, match="table endpoints is full: 4 rows are not in") as raised:
        emptied.apply(
            Change(
                {fits: Frontend(2, 16, first=first), misfit: Frontend(3, 21, first=first)},
                endpoints(5, number=3),
            )
        )
    assert raised.value.table == "endpoints"
    assert set(raised.value.refused.frontends) == {misfit}
    assert len(raised.value.refused.endpoints) == 3
    assert set(emptied.tables.frontends.read()) == {fits}
    # What goes with the same change makes room.
    gone = dict.fromkeys(endpoints(5, number=1))
    emptied.apply(
        Change({misfit: Frontend(3, 21, first=first)}, {**endpoints(5, number=3), **gone})
    )
    assert set(emptied.tables.frontends.read()) == {fits, misfit}


def test_a_service_whose_change_has_no_room_leads_to_nothing_old(emptied: Plane) -> None:
    """What was an endpoint before may be none any more; nftables serves the Service meanwhile."""
    key = FrontendKey("10.96.0.1", 80, 6)
    emptied.apply(Change({key: Frontend(3, 1, first=(Endpoint("10.1.0.1", 80),))}))
    room = endpoints(layout.ENDPOINTS.max_entries, number=1)
    emptied.tables.endpoints.update(room)
    first = tuple(Endpoint("10.1.0.2", 80) for _ in range(16))
    change = Change({key: Frontend(3, 17, first=first)}, endpoints(1, number=3))
    with pytest.raises(TableFull):
        emptied.apply(change)
    assert emptied.tables.frontends.read() == {}
    change.endpoints |= dict.fromkeys(list(room)[:1])
    emptied.apply(change)
    assert set(emptied.tables.frontends.read()) == {key}


def test_an_endpoint_that_cannot_be_replaced_is_taken_out(
    emptied: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel without memory refuses what is in the map already, too."""
    table = emptied.tables.endpoints
    (key, old), *_ = endpoints(1).items()
    table.update({key: old})
    put = table.put
    monkeypatch.setattr(table, "put", lambda rows: [each for each, _ in rows])
    with pytest.raises(TableFull):
        emptied.apply(Change(endpoints={key: Endpoint("10.1.0.9", 80)}))
    monkeypatch.setattr(table, "put", put)
    assert table.read() == {}


def test_reads_go_on_beside_writes(emptied: Plane) -> None:
    emptied.tables.endpoints.update(endpoints(20_000))
    ended = threading.Event()

    def change() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            emptied.apply(Change(endpoints=dict(endpoints(number % 500, number=8))))
            emptied.apply(Change(endpoints=dict.fromkeys(endpoints(500, number=8))))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(5):
            found = emptied.tables.endpoints.read()
            assert endpoints(20_000).items() <= found.items()
    finally:
        ended.set()
        thread.join()


def test_a_plane_weighs_less_than_twenty_megabytes(compiled: Place, plane: Plane) -> None:
    plane.tables.endpoints.read()
    bare = resident("pass")
    holding = resident(
        f"""
import sys; from pathlib import Path; sys.path.insert(0, {str(Path(layout.__file__).parents[1])!r})
from podwire_ebpf.plane import Place, open_plane
here = Path({str(compiled.cgroup)!r}), Path({str(compiled.folder.with_name("other"))!r})
plane = open_plane(Place(*here))
"""
    )
    assert holding - bare < 20 * MEGABYTE, f"{(holding - bare) / MEGABYTE:.1f} MB"


def test_shapes_are_those_of_the_kernel(plane: Plane) -> None:
    wanted = pins.shapes(layout.TABLES.values(), ring=True)
    for table in plane.tables:
        assert syscall.map_info(table.descriptor).made == wanted[table.layout.name]


def resident(code: str) -> int:
    """Bytes that a Python process has resident after some code."""
    tail = "\nprint([line for line in open('/proc/self/status') if line.startswith('VmRSS')][0])"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[1]) * 1024
