"""Programs that are attached or detached in part: who sends to a Service hears that Service."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from bpf_stage import ENDPOINTS4, UDP, Stage

from podwire_ebpf import links, pins, syscall
from podwire_ebpf.errors import BpfError
from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.place import Place
from podwire_ebpf.plane import Plane, open_plane
from podwire_ebpf.records import FrontendKey

VIP = ("10.96.0.20", 53)
SEND_MESSAGE_6 = 15  # enum bpf_attach_type
ALLOW = bytes([0xB7, 0, 0, 0, 1, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])  # r0 = 1; exit
_PROG_ATTACH = 8


class Stopped(BaseException):
    """As if killed: nothing is put right on the way."""


@pytest.fixture
def detached(on: Stage) -> Stage:
    on.serve(FrontendKey(*VIP, UDP), *ENDPOINTS4[:2])
    links.detach_all(on.place.folder / pins.LINKS)
    return on


def heard(on: Stage, seconds: float = 0.3) -> tuple[str, int] | None:
    """Who answers a socket that did not connect(); None: nobody, as there is no nftables here."""
    with on.socket(on.a, socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(seconds)
        made.sendto(b"who?", VIP)
        try:
            return made.recvfrom(100)[1]  # type: ignore[no-any-return] # an address of IPv4's
        except TimeoutError:
            return None


def count(on: Stage) -> int:
    return sum(len(ids) for ids in links.in_effect(on.place.cgroup).values())


def attach(on: Stage, last: str = "") -> None:
    def step(name: str) -> None:
        if name == f"{last} attached":
            raise Stopped

    links.attach(on.place.cgroup, on.place.folder / pins.LINKS, on.plane.programs, step)


def test_stopped_while_it_attaches(detached: Stage) -> None:
    answers = []
    for number, hook in enumerate(HOOKS, 1):
        with pytest.raises(Stopped):
            attach(detached, hook.program)
        assert count(detached) == number
        answers.append(heard(detached, 20 if number == len(HOOKS) else 0.3))
    assert set(answers) == {None, VIP}
    assert answers[-1] == VIP


def test_stopped_while_it_detaches(detached: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers, room = links.detach, [], 0

    def detach(link: int) -> None:
        nonlocal room
        if not room:
            raise Stopped
        room -= 1
        real(link)

    monkeypatch.setattr(links, "detach", detach)
    for number in range(len(HOOKS)):
        room = len(HOOKS)
        attach(detached)
        room = number
        with pytest.raises(Stopped):
            links.detach_all(detached.place.folder / pins.LINKS)
        assert count(detached) == len(HOOKS) - number
        answers.append(heard(detached, 0.3 if number else 20))
    assert set(answers) == {None, VIP}
    assert answers[0] == VIP


def test_what_cannot_be_attached_whole_is_not_attached(shared: Place) -> None:
    """Who is attached to a cgroup above for itself alone refuses all below, at its hook."""
    above = shared.cgroup / "above"
    below = Place(above / "below", shared.folder)
    below.cgroup.mkdir(parents=True)
    target = os.open(above, os.O_RDONLY)
    program = syscall.load(18, SEND_MESSAGE_6, ALLOW)
    syscall.bpf(_PROG_ATTACH, struct.pack("=4I", target, program, SEND_MESSAGE_6, 0))
    os.close(program)
    os.close(target)
    plane: Plane = open_plane(below)
    with pytest.raises(BpfError, match=r"pw_sendmsg6 cannot be attached to .*: Operation not perm"):
        plane.attach()
    effective = links.in_effect(below.cgroup)
    plane.close()
    assert {name for name, ids in effective.items() if ids} == {"sendmsg6"}
    assert not (shared.folder / pins.LINKS).exists()
