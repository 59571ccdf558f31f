"""Attachments: once each, beside whatever others have attached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from caller import Caller, listening
from scratch import Netns, until

from podwire_ebpf import links, pins, syscall
from podwire_ebpf.errors import BpfError
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import Endpoint, Frontend, FrontendKey
from podwire_ebpf.rows import Change

VIP = ("10.96.0.10", 80)
ALLOW = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])  # r0 = 1; exit
REFUSE = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])  # r0 = 0; exit

CALLS = {"connect4", "connect6", "sendmsg4", "sendmsg6"}


def counts(cgroup: Path) -> set[int]:
    return {len(ids) for ids in links.in_effect(cgroup).values()}


def linked(shared: Place) -> list[syscall.LinkInfo]:
    found = []
    for hook in HOOKS:
        descriptor = syscall.get(shared.folder / pins.LINKS / hook.program)
        found.append(syscall.link_info(descriptor))
        os.close(descriptor)
    return found


class Foreign:
    """Another's programs at every hook of a cgroup."""

    def __init__(self, cgroup: Path, code: bytes = ALLOW) -> None:
        self.held: list[int] = []
        self.programs: list[int] = []
        target = os.open(cgroup, os.O_RDONLY)
        for hook in HOOKS:
            # What is received, and a socket's end, cannot be refused.
            program = syscall.load(hook.kind, hook.attach, code if hook.name in CALLS else ALLOW)
            self.programs.append(syscall.program_info(program).id)
            self.held += [program, syscall.create_link(program, target, hook.attach)]
        self.held.append(target)

    def close(self) -> None:
        for descriptor in self.held:
            os.close(descriptor)


def test_each_hook_has_its_program_once(shared: Place, opened: Plane) -> None:
    opened.attach()
    assert counts(shared.cgroup) == {1}
    before = linked(shared)
    opened.attach()
    assert linked(shared) == before
    assert counts(shared.cgroup) == {1}
    names = {syscall.program_info(each).name for each in opened.programs.values()}
    assert names == {hook.program for hook in HOOKS}


def test_what_others_attached_stays_and_runs(shared: Place, opened: Plane, netns: Netns) -> None:
    before = Foreign(shared.cgroup)
    opened.attach()
    after = Foreign(shared.cgroup, REFUSE)
    assert counts(shared.cgroup) == {3}
    assert opened.prove().missing == ()
    with Caller(netns, shared.cgroup) as caller, pytest.raises(PermissionError):
        caller.connect("127.0.0.1", 9)
    links.detach_all(shared.folder / pins.LINKS)
    for name, ids in links.in_effect(shared.cgroup).items():
        number = [hook.name for hook in HOOKS].index(name)
        assert ids == [before.programs[number], after.programs[number]]
    before.close()
    after.close()


def test_a_link_that_somebody_took_away_is_made_again(shared: Place, opened: Plane) -> None:
    opened.attach()
    (shared.folder / pins.LINKS / "pw_sendmsg4").unlink()
    until("its program is gone", lambda: not links.in_effect(shared.cgroup)["sendmsg4"])
    opened.attach()
    assert counts(shared.cgroup) == {1}


def test_a_link_that_somebody_detached_is_made_again(shared: Place, opened: Plane) -> None:
    opened.attach()
    descriptor = syscall.get(shared.folder / pins.LINKS / "pw_connect6")
    syscall.detach_link(descriptor)
    assert not links.in_effect(shared.cgroup)["connect6"]
    opened.attach()
    os.close(descriptor)
    assert counts(shared.cgroup) == {1}


def test_another_program_in_our_link_is_taken_out_of_it(shared: Place, opened: Plane) -> None:
    opened.attach()
    descriptor = syscall.get(shared.folder / pins.LINKS / "pw_connect4")
    other = syscall.load(18, 10, REFUSE)
    syscall.update_link(descriptor, other)
    os.close(other)
    assert opened.prove().twice == ()
    opened.attach()
    os.close(descriptor)
    ours = syscall.program_info(opened.programs["pw_connect4"]).id
    assert links.in_effect(shared.cgroup)["connect4"] == [ours]


def test_a_pin_that_is_no_link_is_replaced(shared: Place, opened: Plane) -> None:
    (shared.folder / pins.LINKS).mkdir()
    syscall.pin(opened.tables.members.descriptor, shared.folder / pins.LINKS / "pw_connect4")
    opened.attach()
    assert counts(shared.cgroup) == {1}


def test_another_cgroup_gets_the_attachments_and_the_first_loses_them(shared: Place) -> None:
    first, second = shared.cgroup / "first", shared.cgroup / "second"
    first.mkdir()
    second.mkdir()
    for cgroup, other in ((first, second), (second, first)):
        plane = open_plane(Place(cgroup, shared.folder))
        plane.attach()
        assert counts(cgroup) == {1}
        assert counts(other) == {0}
        plane.close()


def test_a_cgroup_that_was_made_anew_is_attached_to_again(shared: Place) -> None:
    cgroup = shared.cgroup / "again"
    for _ in range(2):
        cgroup.mkdir()
        plane = open_plane(Place(cgroup, shared.folder))
        plane.attach()
        assert counts(cgroup) == {1}
        plane.close()
        cgroup.rmdir()


def test_another_podwire_on_the_cgroup_is_refused_in_one_sentence(
    shared: Place, opened: Plane
) -> None:
    opened.attach()
    other = open_plane(Place(shared.cgroup, shared.folder.with_name("other")))
    with pytest.raises(BpfError, match=r"another podwire is attached to .*podwire cleanup"):
        other.attach()
    assert counts(shared.cgroup) == {1}
    other.close()


def test_sockets_below_are_served_by_their_node_s_programs(
    shared: Place, opened: Plane, netns: Netns
) -> None:
    pod = shared.cgroup / "pod"
    pod.mkdir()
    with listening(netns) as port, Caller(netns, pod) as caller:
        served = Frontend(7, 1, first=(Endpoint("127.0.0.1", port),))
        opened.apply(Change(frontends={FrontendKey(*VIP, 6): served}))
        opened.attach()
        assert caller.connect(*VIP) == VIP
