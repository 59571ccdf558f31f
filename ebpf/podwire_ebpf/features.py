"""What this kernel has, found by trying: a tiny program is loaded, and thrown away.

A kernel's version says little: distributions take features over, and builds leave some out.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
import struct
from dataclasses import dataclass

from podwire_ebpf import syscall
from podwire_ebpf.errors import BpfError, Unsupported
from podwire_ebpf.hooks import CONNECT4, HOOKS, SOCK_ADDR, Hook
from podwire_ebpf.layout import RING, Kind

_GET_NETNS_COOKIE, _SET_RETVAL = 122, 187  # enum bpf_func_id
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h
_PAGE = 4096


@dataclass(frozen=True)
class Features:
    """What this kernel has.

    set_retval: a refused connect() says ECONNREFUSED (5.18); without it frontends that have no
    endpoint are left to nftables.  netns_option: a socket tells its namespace's cookie (5.14).
    missing: what must be there and is not, each with the kernel that brought it.
    """

    set_retval: bool
    netns_option: bool
    missing: tuple[str, ...] = ()


def require_rights() -> None:
    """Raise Unsupported when this process may not use bpf(2), or the kernel has none."""
    if refusal := no_rights():
        raise Unsupported(refusal)


def require_features() -> Features:
    """What there is; raises Unsupported when that is not enough."""
    found = features()
    if found.missing:
        raise Unsupported(f"this kernel ({os.uname().release}) lacks {', '.join(found.missing)}")
    return found


def features() -> Features:
    """What there is, for a process that may ask (see no_rights)."""
    hooks = [
        f"the {hook.name} hook of cgroups (Linux {hook.since})"
        for hook in HOOKS
        if not _loads(hook)
    ]
    if not hooks and not _calls(_GET_NETNS_COOKIE):
        hooks.append("bpf_get_netns_cookie (Linux 5.7)")
    if not _ring():
        hooks.append("the ring buffer map (Linux 5.8)")
    return Features(_calls(_SET_RETVAL), netns_cookie() is not None, tuple(hooks))


def no_rights() -> str:
    """Why this process may not use bpf(2), in one sentence; "" when it may."""
    raise_locked_memory()
    try:
        os.close(syscall.create_map("pw_probe", syscall.MapKind(Kind.HASH, 4, 4, 1, 1)))
        program = syscall.load(SOCK_ADDR, CONNECT4.attach, _ALLOW)
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES}:
            return (
                "bpf(2) is not permitted: run as root, or with the capabilities BPF and NET_ADMIN"
            )
        if error.errno == errno.ENOSYS:
            return "this kernel has no bpf(2): it is built without CONFIG_BPF_SYSCALL"
        if error.errno == errno.EINVAL:
            return "this kernel has no programs of cgroups: it is built without CONFIG_CGROUP_BPF"
        raise BpfError(f"bpf(2) failed: {error.strerror}") from error
    os.close(program)
    return ""


def raise_locked_memory() -> None:
    """Before Linux 5.11 maps count as locked memory, of which a process has 64 KB by default."""
    infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) != infinite:
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, infinite)
        except (OSError, ValueError):
            return  # not allowed to: newer kernels do not count, and older ones refuse the map


def netns_cookie() -> int | None:
    """The cookie of the calling thread's network namespace; None before Linux 5.14."""
    with socket.socket(socket.AF_UNIX) as asked:
        try:
            told = asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return None
    return int.from_bytes(told, "little")


# ------------------------------------------------------------------------------------ probes


def _instruction(code: int, registers: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("=BBhi", code, registers, 0, immediate)


_ALLOW = _instruction(0xB7, 0, 1) + _instruction(0x95)  # r0 = 1; exit


def _loads(hook: Hook, code: bytes = _ALLOW) -> bool:
    try:
        os.close(syscall.load(hook.kind, hook.attach, code))
    except OSError:
        return False
    return True


def _calls(helper: int) -> bool:
    """Whether a connect program may call a helper, with a number or the context."""
    number = _instruction(0xB7, 1, -errno.ECONNREFUSED) if helper == _SET_RETVAL else b""
    return _loads(CONNECT4, number + _instruction(0x85, 0, helper) + _ALLOW)


def _ring() -> bool:
    try:
        os.close(syscall.create_map(RING[0], syscall.MapKind(Kind.RINGBUF, 0, 0, _PAGE, 0)))
    except OSError:
        return False
    return True
