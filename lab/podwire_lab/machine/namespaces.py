"""Network namespaces of the lab: made, entered and deleted here alone.

They are mounted under /run/netns as `ip netns add` does it, so that people can say
`ip netns exec pw.lab.node1 ip route`. setns(2) and unshare(2) move one thread: each visit
is a thread of its own that ends with it, and the caller never leaves where it is.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from podwire_lab.topology import netns_prefix

T = TypeVar("T")

FOLDER = Path("/run/netns")
_SYSCTL = Path("/proc/sys")

# linux/sched.h, linux/mount.h, linux/if.h, linux/sockios.h
_CLONE_NEWNET = 0x40000000
_MS_BIND, _MS_REC, _MS_SHARED = 0x1000, 0x4000, 1 << 20
_MNT_DETACH = 2
_IFF_UP = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914

_libc = ctypes.CDLL(None, use_errno=True)


def pod_netns(lab: str, namespace: str, name: str) -> str:
    """The name of a pod's network namespace."""
    return f"{netns_prefix(lab)}pod.{namespace}.{name}"


def path(name: str) -> Path:
    """Where a namespace is mounted."""
    return FOLDER / name


def named(prefix: str) -> tuple[str, ...]:
    """Names that begin with a prefix, sorted; half-made and half-deleted ones among them."""
    try:
        return tuple(sorted(f.name for f in FOLDER.iterdir() if f.name.startswith(prefix)))
    except FileNotFoundError:
        return ()


def create(name: str, sysctls: Mapping[str, str] | None = None) -> None:
    """Make a namespace with its loopback up. Raises FileExistsError when the name is taken."""
    _prepare_folder()
    mount_point = path(name)
    mount_point.touch(mode=0o444, exist_ok=False)

    def make() -> None:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        _mount("/proc/thread-self/ns/net", str(mount_point), _MS_BIND)
        _raise_loopback()
        write_sysctls(sysctls or {})

    try:
        _in_thread(make)
    except BaseException:
        delete(name)
        raise


def delete(name: str) -> None:
    """Take the name away; the kernel ends the namespace with its last process. Twice is fine."""
    mount_point = path(name)
    while _libc.umount2(os.fsencode(mount_point), _MNT_DETACH) == 0:
        pass  # as often as it was mounted
    mount_point.unlink(missing_ok=True)


def inside(name: str, act: Callable[[], T]) -> T:
    """What `act` gives when it runs in the namespace, in a thread of its own.

    Raises FileNotFoundError when there is no such namespace, and whatever `act` raises.
    """

    def visit() -> T:
        descriptor = os.open(path(name), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(descriptor, _CLONE_NEWNET), f"setns {name}")
        finally:
            os.close(descriptor)
        return act()

    return _in_thread(visit)


def inside_new(act: Callable[[], T]) -> T:
    """What `act` gives in a namespace without a name, which is gone when `act` returns."""

    def visit() -> T:
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        return act()

    return _in_thread(visit)


@contextmanager
def membership(names: Collection[str]) -> Iterator[Callable[[int], bool]]:
    """A judge of process ids: whether a process's network namespace is one of these.

    They are held open meanwhile. A namespace is known by its inode, whose number the kernel
    gives to the next one as soon as it is gone: a judge without a hold on it would convict
    the processes of another lab.
    """
    with ExitStack() as stack:
        identities = {each for name in names if (each := _hold(path(name), stack)) is not None}
        yield lambda pid: _identity(Path(f"/proc/{pid}/ns/net")) in identities


def _hold(file: Path, stack: ExitStack) -> tuple[int, int] | None:
    """The identity of a namespace that stays until the stack ends; None for one that is gone."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def write_sysctls(settings: Mapping[str, str]) -> None:
    """Set sysctls of the calling thread's namespace, by dotted name, in the order given."""
    for name, value in settings.items():
        (_SYSCTL / name.replace(".", "/")).write_text(value)


# ------------------------------------------------------------------------------ the kernel


def _in_thread(act: Callable[[], T]) -> T:
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(act).result()


def _identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, which name a namespace; None when it, or its process, is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_folder() -> None:
    """Make /run/netns a shared mount of its own.

    Shared, so that a name deleted here is unmounted in every mount namespace that has a copy
    (each container has one): a forgotten copy would keep the network namespace alive.
    """
    FOLDER.mkdir(mode=0o755, exist_ok=True)
    try:
        _mount("none", str(FOLDER), _MS_SHARED | _MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: is no mount point yet
            raise
        _mount(str(FOLDER), str(FOLDER), _MS_BIND | _MS_REC)
        _mount("none", str(FOLDER), _MS_SHARED | _MS_REC)


def _mount(source: str, target: str, flags: int) -> None:
    done = _libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    _check(done, f"mount {target}")


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack_from("16xH", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[0]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
