"""Processes of the lab: started with a mark in their environment, found by it, ended safely.

A mark is kept by the kernel for as long as the process lives (/proc/PID/environ), so a
process is found again by whoever comes after its parent, with no pid file to go stale.

    PODWIRE_ROLE=LAB/agent/NODE            LAB/runner/NODE, LAB/controller
    PODWIRE_CONTAINER=LAB/NS/POD/UID/NAME  a pod's container, and what it started

Ending goes by pidfd: what is signalled is the process that was judged, never a newer one
that got its number.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

ROLE = "PODWIRE_ROLE"
CONTAINER = "PODWIRE_CONTAINER"

#: The child's descriptor that `tell` of spawn becomes.
TELL_FD = 3

_KILL_ROUNDS = 20
_KILL_PATIENCE = 2.0
#: What Python ignores and other programs do not expect to be ignored.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)

Judge = Callable[[int], bool]


class ProcessesError(Exception):
    """Processes that cannot be ended; the text has their ids."""


def spawn(
    argv: Sequence[str], environment: Mapping[str, str], log: Path, *, tell: int | None = None
) -> int:
    """Start a program in its own session, output appended to the log (0600); its process id.

    `tell` is a descriptor that the child gets as number TELL_FD. Raises OSError.
    """
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
    ]
    if tell is not None:
        actions.append((os.POSIX_SPAWN_DUP2, tell, TELL_FD))
    try:
        return os.posix_spawnp(
            argv[0],
            list(argv),
            environment,
            file_actions=actions,
            setsid=True,
            setsigdef=_DEFAULT_SIGNALS,
        )
    finally:
        os.close(output)


# ------------------------------------------------------------------------------- finding


def every() -> Iterator[int]:
    """Ids of all processes, lowest first."""
    return iter(sorted(int(f.name) for f in Path("/proc").iterdir() if f.name.isdigit()))


def mark_of(pid: int, variable: str) -> str:
    """A mark's value; "" for a process that has none or is gone."""
    return environment_of(pid).get(variable, "")


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process was started with; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def leads(pid: int) -> bool:
    """Whether a process leads its session, as everything does that `spawn` started."""
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def marked(variable: str) -> dict[str, int]:
    """The session leaders that have this mark, by its value; the oldest of each."""
    found: dict[str, int] = {}
    for pid in every():
        if (value := mark_of(pid, variable)) and leads(pid):
            found.setdefault(value, pid)
    return found


def command_of(pid: int) -> tuple[str, ...]:
    """A process's arguments; empty when it is gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in raw.rstrip(b"\0").split(b"\0"))


def resident_mb(pid: int) -> float:
    """Memory that a process holds, in MiB; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def enter(pid: int) -> tuple[str, ...]:
    """What to put before a command so that it runs where a container's process runs."""
    return ("nsenter", f"--target={pid}", "--net", "--mount", "--uts", "--")


def with_role(role: str) -> Judge:
    """A judge of the process that was started in this role, without its children."""
    return lambda pid: leads(pid) and mark_of(pid, ROLE) == role


# -------------------------------------------------------------------------------- ending


def end(belongs: Judge, grace: float = 3.0) -> int:
    """End every process that belongs: SIGTERM, `grace` seconds, SIGKILL. How many there were.

    Judges again until none is found, so that what was forked meanwhile goes too. Never ends
    the caller. Raises ProcessesError for what outlives SIGKILL.
    """
    met = _round(belongs, signal.SIGTERM, grace)
    for _ in range(_KILL_ROUNDS):
        left = _round(belongs, signal.SIGKILL, _KILL_PATIENCE)
        if not left:
            return len(met)
        met |= left
    raise ProcessesError(f"processes {sorted(left)} cannot be ended: see their state with `ps`")


def _round(belongs: Judge, number: signal.Signals, patience: float) -> set[int]:
    """Signal all that belong and wait until they are gone, or patience is."""
    with ExitStack() as stack:
        targets = {pid: fd for pid in every() if (fd := _hold(pid, belongs, stack)) is not None}
        for pidfd in targets.values():
            _signal(pidfd, number)
        _wait_for_exits(set(targets.values()), patience)
        return set(targets)


def _hold(pid: int, belongs: Judge, stack: ExitStack) -> int | None:
    """A pidfd of a process that belongs, judged while the pidfd pins its number."""
    if pid == os.getpid() or not belongs(pid):
        return None
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    stack.callback(os.close, pidfd)
    return pidfd if belongs(pid) else None


def _signal(pidfd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it went by itself
        signal.pidfd_send_signal(pidfd, number)


def _wait_for_exits(pidfds: set[int], patience: float) -> None:
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + patience
    while pidfds and (left := deadline - time.monotonic()) > 0:
        for pidfd, _ in poll.poll(left * 1000):
            poll.unregister(pidfd)
            pidfds.discard(pidfd)


# ------------------------------------------------------------------------------- waiting


class Process:
    """A process that this event loop waits for and reaps, its own child or an adopted one."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when the process is gone."""
        self.pid = pid
        self._pidfd = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int | None] = self._loop.create_future()
        self._loop.add_reader(self._pidfd, self._reap)

    async def exited(self) -> int | None:
        """Its exit code (128 + n for signal n) when it ends; None when only its parent knows."""
        return await asyncio.shield(self._exit)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            result = None
        os.close(self._pidfd)
        if result is None:
            self._exit.set_result(None)
        else:
            signalled = result.si_code != os.CLD_EXITED
            self._exit.set_result(result.si_status + (128 if signalled else 0))
