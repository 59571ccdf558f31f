"""Network namespaces: opening the pod's, stepping into it, and what /proc/sys shows there.

"Host" is the namespace the calling thread is in, not the machine's first one: a node may
itself be a namespace (kind, podwire's lab). Nothing here leaves these two.
"""

import ctypes
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podwire_cni.errors import BadNamespace

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_NS_GET_NSTYPE = 0xB703  # linux/nsfs.h: which CLONE_NEW* a descriptor is
# The thread's own: with setns() each thread of a process may be somewhere else.
_OWN = "/proc/thread-self/ns/net"


@contextmanager
def opened(path: str, file: str = "") -> Iterator[int]:
    """Open CNI_NETNS; the descriptor keeps the namespace alive until the block ends.

    file: what to open, where it is not the path that errors shall name.
    Raises BadNamespace when the path is missing, no network namespace, or our own.
    """
    try:
        descriptor = os.open(file or path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise BadNamespace(f"CNI_NETNS: cannot open {path!r}", str(error)) from error
    try:
        _require_network_namespace(descriptor, path)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def entered(descriptor: int) -> Iterator[None]:
    """Run the block in the namespace; only the calling thread moves.

    Sockets opened inside stay there. /proc/sys/net shows the namespace of whoever opens
    the file, so sysctls need nothing else.
    """
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def has_link(name: str) -> bool:
    """Whether the calling thread's namespace has a link of that name."""
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return True


def read_sysctl(path: str) -> str:
    """The value of a file under /proc/sys, such as `net/ipv4/ip_forward`."""
    return Path("/proc/sys", path).read_text().strip()


def write_sysctl(path: str, value: str) -> None:
    """Set a file under /proc/sys, unless it is set already.

    Writing a forwarding switch makes the kernel walk every link and flush its route
    cache, even when nothing changes.
    """
    if read_sysctl(path) != value:
        Path("/proc/sys", path).write_text(value)


def _require_network_namespace(descriptor: int, path: str) -> None:
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != _CLONE_NEWNET:
        raise BadNamespace(f"CNI_NETNS: {path!r} is not a network namespace")
    if os.path.samestat(os.fstat(descriptor), Path(_OWN).stat()):
        raise BadNamespace(f"CNI_NETNS: {path!r} is the plugin's own namespace")


def _setns(descriptor: int) -> None:
    # os.setns() exists since Python 3.12 only.
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
