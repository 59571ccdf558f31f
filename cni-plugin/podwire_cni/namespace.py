"""Network namespaces: opening the pod's, working inside it, and what /proc/sys shows there.

"Host" is the namespace the calling thread is in, not the machine's first one: a node may
itself be a namespace (kind, podwire's lab). Nothing here leaves these two.

setns() moves one thread. The thread that enters a pod's namespace is made for that, and ends
there: there is no way home that could fail and leave one of the agent's threads in a pod.
"""

import ctypes
import errno
import fcntl
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from podwire_cni.errors import BadNamespace

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h: which CLONE_NEW* a descriptor is
# The thread's own: with setns() each thread of a process may be somewhere else.
_OWN = "/proc/thread-self/ns/net"
_SIOCGIFINDEX = 0x8933  # linux/sockios.h
_IFNAMSIZ, _IFREQ_BYTES = 16, 40  # struct ifreq: the name, then a union
_SYSCTL_BYTES = 64  # the files we read hold one number

_T = TypeVar("_T")


@contextmanager
def opened(path: str, descriptor: int | None = None) -> Iterator[int]:
    """Open CNI_NETNS; the descriptor keeps the namespace alive until the block ends.

    descriptor: the namespace where somebody has opened it already, whose it stays; the path
    is then what errors name.
    Raises BadNamespace when the path is missing, no network namespace, or our own.
    """
    if descriptor is not None:
        _require_network_namespace(descriptor, path)
        yield descriptor
        return
    try:
        own = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise BadNamespace(f"CNI_NETNS: cannot open {path!r}", str(error)) from error
    try:
        _require_network_namespace(own, path)
        yield own
    finally:
        os.close(own)


def inside(descriptor: int, work: Callable[[], _T]) -> _T:
    """What the work returns or raises, done by a thread inside the namespace.

    Sockets opened there stay there. /proc/sys/net shows the namespace of whoever opens the
    file, so sysctls need nothing else. Raises OSError when the namespace cannot be entered.
    """
    visit = _Visit(descriptor, work)
    visit.start()
    try:
        visit.join()
    finally:
        visit.join()  # also after SIGTERM: what is undone must not go on meanwhile
    return visit.outcome()


def link_index(name: str) -> int | None:
    """A link's index in the calling thread's namespace; None when there is none of that name.

    Raises OSError where it cannot be asked: if_nametoindex() says "none" then, too, and a DEL
    without a free descriptor would release the lease of a pod that lives.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        request = name.encode().ljust(_IFREQ_BYTES, b"\0")
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFINDEX, request)
        except OSError as error:
            if error.errno == errno.ENODEV:
                return None
            raise
    return int.from_bytes(answer[_IFNAMSIZ : _IFNAMSIZ + 4], sys.byteorder)


def read_sysctl(path: str) -> str:
    """The value of a file under /proc/sys, such as `net/ipv4/ip_forward`."""
    return Path("/proc/sys", path).read_text().strip()


def has_sysctl(path: str, *values: str) -> bool:
    """Whether such a file is there and holds one of these."""
    try:
        return read_sysctl(path) in values
    except FileNotFoundError:
        return False


def write_sysctl(path: str, value: str) -> None:
    """Set a file under /proc/sys, unless it is set already.

    Writing a forwarding switch makes the kernel walk every link and flush its route
    cache, even when nothing changes.
    """
    # Half the time of what pathlib does, ten times a pod.
    file = os.open(f"/proc/sys/{path}", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.read(file, _SYSCTL_BYTES).strip() != value.encode():
            os.pwrite(file, value.encode(), 0)  # elsewhere it is ignored (sysctl_writes_strict)
    finally:
        os.close(file)


class _Visit(threading.Thread, Generic[_T]):
    """A thread that enters a namespace, does the work and ends."""

    def __init__(self, descriptor: int, work: Callable[[], _T]) -> None:
        super().__init__(name="podwire-cni-pod")
        self._descriptor = descriptor
        self._work = work
        self._results: list[_T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            _setns(self._descriptor)
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - outcome() raises it where it matters
            self._error = error

    def outcome(self) -> _T:
        if self._error is not None:
            raise self._error
        return self._results[0]


def _require_network_namespace(descriptor: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise BadNamespace(f"CNI_NETNS: {path!r} is not a network namespace")
    if os.path.samestat(os.fstat(descriptor), Path(_OWN).stat()):
        raise BadNamespace(f"CNI_NETNS: {path!r} is the plugin's own namespace")


# os.setns() exists since Python 3.12 only.
_LIBC = ctypes.CDLL(None, use_errno=True)


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
