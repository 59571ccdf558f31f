"""Attachments: one pinned bpf_link for each hook, beside whatever others attached.

    pinned, of this cgroup, with this program     nothing to do
    pinned, of this cgroup, with another program  BPF_LINK_UPDATE: no event is missed or seen twice
    pinned, of another cgroup, or of one that is gone       detached, unpinned, made anew
    not pinned                                    made, then pinned

A link that is not pinned goes with the process that made it, so a process that is killed between
the two leaves nothing attached.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from podwire_ebpf import syscall
from podwire_ebpf.errors import BpfError
from podwire_ebpf.hooks import HOOKS, Hook

Step = Callable[[str], None]


def attach(cgroup: Path, folder: Path, programs: Mapping[str, int], step: Step) -> None:
    """Have each hook's program attached, exactly once.

    folder: of the links' pins.  programs: descriptors by their names.
    Raises BpfError when the kernel refuses, and nothing is attached then; or when another podwire
    is attached to the cgroup, before anything is changed.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with _opened(cgroup) as target:
        _refuse_strangers(cgroup, target, folder, programs)
        for hook in HOOKS:
            try:
                _attach(hook, target, folder / hook.program, programs[hook.program], step)
            except OSError as error:
                detach_all(folder)  # nftables serves; in part nothing is served well
                raise BpfError(
                    f"{hook.program} cannot be attached to {cgroup}: {error.strerror}"
                ) from error
            step(f"{hook.program} attached")


def _attach(hook: Hook, cgroup: int, pin: Path, program: int, step: Step) -> None:
    with _link(pin) as link:
        if link is not None:
            info = syscall.link_info(link)
            if (info.cgroup, info.attach) == (os.fstat(cgroup).st_ino, hook.attach):
                if info.program != syscall.program_info(program).id:
                    syscall.update_link(link, program)
                return
            detach(link)
            pin.unlink()
            step(f"{hook.program} unpinned")
    made = syscall.create_link(program, cgroup, hook.attach)
    try:
        step(f"{hook.program} linked")
        syscall.pin(made, pin)
    finally:
        os.close(made)


def detach_all(folder: Path) -> None:
    """Detach and unpin our links of a folder, the last one first, and remove it.

    What others pinned there is theirs, and stays. It is fine if the folder is not there.
    """
    for hook in reversed(HOOKS):
        pin = folder / hook.program
        with _link(pin) as link:
            if link is not None:
                detach(link)
        pin.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def pinned(folder: Path) -> list[syscall.LinkInfo]:
    """What a folder of links holds, of our hooks; nothing where there is none, or no bpffs."""
    found = []
    for hook in HOOKS:
        with suppress(OSError), _link(folder / hook.program) as link:
            if link is not None:
                found.append(syscall.link_info(link))
    return found


def linked(cgroup: Path, folder: Path) -> dict[str, int]:
    """Ids of the programs that the pinned links attach to a cgroup, by their hooks' names."""
    place = cgroup.stat().st_ino
    found = {}
    for hook in HOOKS:
        with _link(folder / hook.program) as link:
            if link is not None:
                info = syscall.link_info(link)
                if (info.cgroup, info.attach) == (place, hook.attach):
                    found[hook.name] = info.program
    return found


def in_effect(cgroup: Path) -> dict[str, list[int]]:
    """Ids of all programs that run for sockets of a cgroup, by hook: foreign ones, too."""
    with _opened(cgroup) as target:
        return {hook.name: list(syscall.effective(target, hook.attach)) for hook in HOOKS}


def _refuse_strangers(cgroup: Path, target: int, folder: Path, programs: Mapping[str, int]) -> None:
    """Two podwires would translate each call twice, and count it twice."""
    ours = set(linked(cgroup, folder).values())
    ours |= {syscall.program_info(program).id for program in programs.values()}
    for hook in HOOKS:
        for program in syscall.attached(target, hook.attach):
            if program not in ours and _name(program) == hook.program:
                raise BpfError(
                    f"{hook.program} of another podwire is attached to {cgroup}: "
                    f"`podwire cleanup` with its folder removes it, this one's is {folder.parent}"
                )


def _name(program: int) -> str:
    """A program's name by its id; "" where the kernel does not say, or it is gone."""
    try:
        descriptor = syscall.program_by_id(program)
    except OSError:
        return ""
    try:
        return syscall.program_info(descriptor).name
    finally:
        os.close(descriptor)


def detach(link: int) -> None:
    """At once, and not when the link's last descriptor is gone: another process may hold one."""
    with suppress(OSError):  # its cgroup is gone, and with it the attachment
        syscall.detach_link(link)


@contextmanager
def _opened(cgroup: Path) -> Iterator[int]:
    try:
        descriptor = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BpfError(f"cgroup {cgroup}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _link(pinned: Path) -> Iterator[int | None]:
    """A pinned link's descriptor; None: nothing is pinned."""
    try:
        descriptor = syscall.get(pinned)
    except FileNotFoundError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
