"""A plane over its life: opened, filled, attached, taken over, swapped, removed."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import time
from contextlib import closing, suppress
from pathlib import Path

import plane_process
import pytest
from caller import Caller, listening
from plane_process import Version
from scratch import Netns

from podwire_ebpf import links, pins, sources, store, syscall
from podwire_ebpf.errors import BpfError, Busy, Unsupported
from podwire_ebpf.hooks import CONNECT4, HOOKS
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane, open_tables, remove
from podwire_ebpf.records import Endpoint, Frontend, FrontendKey
from podwire_ebpf.rows import Change

VIP = ("10.96.0.10", 80)
PLAIN = Version()


def change(port: int) -> Change:
    served = Frontend(7, 1, counter=3, first=(Endpoint("127.0.0.1", port),))
    return Change(frontends={FrontendKey(*VIP, 6): served})


def folders(place: Place) -> set[str]:
    return {each.name for each in place.folder.iterdir()}


def link_ids(place: Place) -> list[int]:
    found = []
    for hook in HOOKS:
        link = syscall.get(place.folder / pins.LINKS / hook.program)
        found.append(syscall.link_info(link).id)
        os.close(link)
    return found


def map_ids(plane: Plane) -> list[int]:
    return [syscall.map_info(table.descriptor).id for table in plane.tables]


def in_effect(place: Place) -> dict[str, int]:
    return {name: len(ids) for name, ids in links.in_effect(place.cgroup).items()}


ONCE = {hook.name: 1 for hook in HOOKS}


def test_what_is_applied_is_served_once_attached(place: Place, netns: Netns) -> None:
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        plane = open_plane(place)
        assert plane.fresh
        plane.apply(change(port))
        with pytest.raises(OSError, match="connect"):
            caller.connect(*VIP)
        plane.attach()
        assert caller.connect(*VIP) == VIP  # as getpeername says
        told = plane.tables.counters.get(3)
        assert told
        assert told.connections == 1
        plane.close()
        assert caller.connect(*VIP) == VIP


def test_restart_compiles_nothing_and_changes_nothing(place: Place) -> None:
    began = time.monotonic()
    plane = open_plane(place)
    compiling = time.monotonic() - began
    plane.apply(change(8080))
    plane.attach()
    before = link_ids(place), map_ids(plane), plane.tables.frontends.read(), folders(place)
    plane.close()
    steps: list[str] = []
    began = time.monotonic()
    plane = open_plane(place, step=steps.append)
    took = time.monotonic() - began
    assert steps == []
    assert not plane.fresh
    plane.attach()
    assert before == (
        link_ids(place),
        map_ids(plane),
        plane.tables.frontends.read(),
        folders(place),
    )
    assert in_effect(place) == ONCE
    plane.close()
    waits = [took]
    for _ in range(4):
        began = time.monotonic()
        open_plane(place).close()
        waits.append(time.monotonic() - began)
    assert min(waits) < compiling / 5, "it has to be milliseconds"


def test_new_programs_take_the_place_of_the_old_and_the_maps_stay(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane = open_plane(place)
    plane.apply(change(8080))
    plane.attach()
    maps, attached, before = map_ids(plane), link_ids(place), folders(place)
    programs = links.linked(place.cgroup, place.folder / pins.LINKS)
    plane.close()
    with monkeypatch.context() as patch:
        other_version(patch, Version(text="another text"))
        plane = open_plane(place)
        assert not plane.fresh
        plane.attach()
        assert (map_ids(plane), link_ids(place)) == (maps, attached)
        assert plane.tables.frontends.read() == change(8080).frontends
        after = links.linked(place.cgroup, place.folder / pins.LINKS)
        assert not set(programs.values()) & set(after.values())
        assert in_effect(place) == ONCE
        assert len(before - folders(place)) == 1, "the old programs' folder alone goes"
        plane.close()


def test_another_layout_gets_maps_of_its_own_and_the_old_go_when_it_serves(
    place: Place, netns: Netns, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        plane = open_plane(place)
        plane.apply(change(port))
        plane.attach()
        before = folders(place)
        plane.close()
        other_version(monkeypatch, Version(layout="0123456789abcdef"))
        plane = open_plane(place)
        assert plane.fresh
        assert before < folders(place)
        assert caller.connect(*VIP) == VIP, "the old maps serve until the new ones are filled"
        plane.apply(change(port))
        plane.attach()
        assert caller.connect(*VIP) == VIP
        assert before & folders(place) == {"links"}
        plane.close()


def test_no_call_fails_while_versions_follow_each_other(place: Place, netns: Netns) -> None:
    versions = (Version("text"), Version("text", "0123456789abcdef"), Version())
    with listening(netns) as port, Caller(netns, place.cgroup) as caller:
        endpoint = Endpoint("127.0.0.1", port)
        assert plane_process.run(place, VIP, endpoint, PLAIN).code == 0
        with caller.calling(*VIP) as calls:
            for version in versions:
                ran = plane_process.run(place, VIP, endpoint, version)
                assert ran.code == 0, ran.told
    assert calls.failed == []
    assert calls.made > 100
    assert in_effect(place) == ONCE


def test_two_agents_in_one_folder_are_one_too_many(place: Place) -> None:
    plane = open_plane(place)
    with pytest.raises(Busy, match="in use by another podwire"):
        open_plane(place)
    with pytest.raises(Busy):
        remove(place)
    plane.close()
    open_plane(place).close()


def test_a_map_that_is_not_ours_under_our_name_is_replaced(place: Place) -> None:
    plane = open_plane(place)
    plane.apply(change(8080))
    plane.attach()
    plane.close()
    pinned = pins_of_maps(place) / "members"
    pinned.unlink()
    foreign = syscall.create_map("members", syscall.MapKind(1, 4, 4, 1, 0))
    syscall.pin(foreign, pinned)
    os.close(foreign)
    plane = open_plane(place)
    assert plane.fresh
    plane.apply(change(8080))
    plane.attach()
    assert in_effect(place) == ONCE
    assert len(folders(place)) == 3
    plane.close()


def test_a_pin_that_somebody_removed_is_made_again(place: Place) -> None:
    open_plane(place).close()
    (pins_of_maps(place) / "events").unlink()
    next(iter(place.folder.glob("programs-*"))).joinpath("pw_connect4").unlink()
    plane = open_plane(place)
    plane.attach()
    assert in_effect(place) == ONCE
    plane.close()


def test_others_look_while_the_agent_works(place: Place) -> None:
    plane = open_plane(place)
    plane.apply(change(8080))
    tables = open_tables(place)
    assert tables.frontends.read() == change(8080).frontends
    with pytest.raises(PermissionError):
        tables.frontends.update(plane.tables.frontends.read())
    tables.close()
    plane.close()


def test_remove_leaves_nothing_and_is_silent_twice(place: Place) -> None:
    plane = open_plane(place)
    plane.attach()
    plane.close()
    assert in_effect(place) == ONCE
    remove(place)
    assert set(in_effect(place).values()) == {0}
    assert not place.folder.exists()
    remove(place)


def test_remove_leaves_what_others_pinned(place: Place) -> None:
    open_plane(place).close()
    foreign = syscall.create_map("foreign", syscall.MapKind(1, 4, 4, 1, 0))
    syscall.pin(foreign, place.folder / "foreign")
    os.close(foreign)
    remove(place)
    assert folders(place) == {"foreign"}


def test_a_link_that_others_pinned_among_ours_stays_attached(place: Place) -> None:
    plane = open_plane(place)
    plane.attach()
    target = os.open(place.cgroup, os.O_RDONLY)
    program = plane.programs["pw_connect4"]
    foreign = syscall.create_link(program, target, CONNECT4.attach)
    syscall.pin(foreign, place.folder / pins.LINKS / "foreign")
    os.close(foreign)
    os.close(target)
    plane.close()
    remove(place)
    assert {name: count for name, count in in_effect(place).items() if count} == {"connect4": 1}
    assert folders(place) == {pins.LINKS}


def test_a_folder_that_somebody_made_in_ours_goes_with_it(place: Place) -> None:
    open_plane(place).close()
    (pins_of_maps(place) / "more" / "still").mkdir(parents=True)
    remove(place)
    assert not place.folder.exists()


@pytest.mark.parametrize("name", ["podwire.v1", "p" * 300])
def test_a_name_that_bpffs_refuses_is_one_sentence(place: Place, name: str) -> None:
    wrong = Place(place.cgroup, place.folder.parent / name)
    before = set(place.folder.parent.iterdir())
    with pytest.raises(Unsupported, match="bpffs has names without dots, of at most 255 bytes"):
        open_plane(wrong)
    with suppress(BpfError):
        remove(wrong)
    assert set(place.folder.parent.iterdir()) == before


def test_an_ordinary_folder_is_nobody_s_to_change(place: Place, tmp_path: Path) -> None:
    """As an agent meets it whose ebpfFolder is another than was meant."""
    wrong = Place(place.cgroup, tmp_path / "home")
    picture = wrong.folder / "maps-of-europe/alps.pdf"
    picture.parent.mkdir(parents=True)
    picture.write_text("Alps")
    wrong.folder.chmod(0o755)
    for each in (wrong, Place(place.cgroup, wrong.folder / "links"), Place(place.cgroup, tmp_path)):
        each.folder.mkdir(exist_ok=True)
        mode = each.folder.stat().st_mode
        with pytest.raises(BpfError, match="is not on bpffs"):
            remove(each)
        with pytest.raises(BpfError, match="is not on bpffs"):
            pins.Lock(each.folder)
        assert each.folder.stat().st_mode == mode
    assert picture.read_text() == "Alps"
    with pytest.raises(BpfError, match="is not on bpffs"):
        pins.Lock(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_bpffs_itself_is_not_removed_from(place: Place) -> None:
    mode = place.folder.parent.stat().st_mode
    (place.folder.parent / "maps-another").mkdir()
    with pytest.raises(BpfError, match="is bpffs itself"):
        remove(Place(place.cgroup, place.folder.parent))
    assert (place.folder.parent / "maps-another").is_dir()
    assert place.folder.parent.stat().st_mode == mode


def test_the_folder_is_root_s_alone(place: Place) -> None:
    place.folder.mkdir(mode=0o755)
    open_plane(place).close()
    assert stat.S_IMODE(place.folder.stat().st_mode) == 0o700
    assert place.folder.stat().st_uid == 0


def pins_of_maps(place: Place) -> Path:
    return next(iter(place.folder.glob("maps-*")))


def other_version(patch: pytest.MonkeyPatch, version: Version) -> None:
    """This process is another version of podwire for as long as the patch lasts."""
    real = sources.Module.text
    patch.setattr(sources.Module, "text", lambda self: f"{real(self)}/* {version.text} */")
    if version.layout:
        for module in (sources, store):
            patch.setattr(module, "layout_digest", lambda: version.layout)


def test_what_fails_on_the_way_leaves_no_descriptor_open(
    compiled: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent tries again for ever."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, "out of luck")

    with closing(open_plane(compiled)) as plane:
        held = descriptors()
        map_memory = iter([mmap.mmap, fail])
        with monkeypatch.context() as broken:
            broken.setattr("podwire_ebpf.ring.mmap.mmap", lambda *a, **b: next(map_memory)(*a, **b))  # noqa: PLW0108 - another each time
            with pytest.raises(BpfError):
                plane.events()
        assert descriptors() == held
        plane.events().close()
        assert descriptors() == held
    for place in ("podwire_ebpf.plane.Tables", "podwire_ebpf.pins.fcntl.flock"):
        before = descriptors()
        with monkeypatch.context() as broken:
            broken.setattr(place, fail)
            with pytest.raises(BpfError):
                open_plane(compiled)
        assert descriptors() == before, place


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
