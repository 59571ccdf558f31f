"""What the running kernel has, found by trying; a test that needs more says so by `needs`.

```
 needs("ringbuf")  its probe succeeds                     → the test runs
                   it fails, the kernel is older          → skipped: what is missing, since when
                   it fails, the kernel is built without  → skipped: which option
                   it fails, and should not               → failed: the skip would hide a fault
```

Probes ask the kernel itself, by bpf(2) and sockets; none of the product's code is in them, so they
judge what the product says it found.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import gzip
import os
import platform
import re
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

Version = tuple[int, int]

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_MAP_CREATE, _PROG_LOAD, _LINK_CREATE, _MAP_LOOKUP_BATCH = 0, 5, 28, 24
_HASH, _RING = 1, 27
_SCHED_CLS, _CGROUP_SOCK, _SOCK_ADDR = 3, 9, 18
_CONNECT4, _GETPEERNAME4, _SOCK_RELEASE, _TCX_INGRESS = 10, 29, 34, 46
_GET_SOCKET_COOKIE, _GET_NETNS_COOKIE, _SET_RETVAL = 46, 122, 187
_SO_NETNS_COOKIE = 71
_INET_DIAG_DESTROY = "CONFIG_INET_DIAG_DESTROY"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Feature:
    """since: the first version that has it.  until: the first that has it no more.

    option: a kernel may be built without it.
    """

    words: str
    since: Version
    there: Callable[[], bool]
    option: str = ""
    until: Version | None = None


def needs(name: str) -> None:
    """Skip the test unless this kernel has a feature; fail it where the kernel should have it.

    name: a key of FEATURES. In a module's top level it stands for all its tests.
    """
    feature = FEATURES[name]
    if has(name):
        return
    when = f"since kernel {_text(feature.since)}"
    if feature.until:
        when += f" until {_text(feature.until)}"
    missing = f"{feature.words} ({name}): {when}, this is {platform.release()}"
    if not feature.since <= release() < (feature.until or (release()[0] + 1, 0)):
        pytest.skip(missing, allow_module_level=True)
    if feature.option and _left_out(feature.option):
        pytest.skip(f"{missing}, built without {feature.option}", allow_module_level=True)
    pytest.fail(f"{missing}: it should be there")


def _text(version: Version) -> str:
    return ".".join(map(str, version))


@functools.cache
def has(name: str) -> bool:
    """Whether this kernel has a feature of FEATURES."""
    return FEATURES[name].there()


def release() -> Version:
    """The running kernel's version: (5, 10)."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    assert found, f"no version: {platform.release()}"
    return int(found[1]), int(found[2])


# ------------------------------------------------------------------------------------ probes


def _bpf(command: int, attributes: bytes) -> int:
    """bpf(2): what it answers, or an error's number, negative. A descriptor is the caller's."""
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    answer = int(_libc.syscall(_SYSCALL[platform.machine()], command, buffer, 128))
    return answer if answer >= 0 else -ctypes.get_errno()


def _works(descriptor: int) -> bool:
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0


def _map(kind: int, key: int, value: int, entries: int) -> int:
    return _bpf(_MAP_CREATE, struct.pack("=5I", kind, key, value, entries, 0))


def _program(kind: int, attach: int, *calls: tuple[int, int | None]) -> int:
    """A program that calls helpers, each with a number or the context (None), and allows."""
    code = b"\xbf\x16" + bytes(6)  # r6 = r1
    for helper, argument in calls:
        if argument is None:
            code += b"\xbf\x61" + bytes(6)  # r1 = r6
        else:
            code += struct.pack("=BBhi", 0xB7, 1, 0, argument)
        code += struct.pack("=BBhi", 0x85, 0, 0, helper)
    code += struct.pack("=BBhi", 0xB7, 0, 0, 1) + b"\x95" + bytes(7)
    text, words = ctypes.create_string_buffer(code), ctypes.create_string_buffer(b"GPL")
    places = (ctypes.addressof(text), ctypes.addressof(words))
    attributes = struct.pack("=2I2Q2IQ2I16sI", kind, len(code) // 8, *places, 0, 0, 0, 0, 0, b"", 0)
    return _bpf(_PROG_LOAD, attributes + struct.pack("=I", attach))


def _loads(kind: int, attach: int, *calls: tuple[int, int | None]) -> Callable[[], bool]:
    return lambda: _works(_program(kind, attach, *calls))


def _links(kind: int, attach: int) -> Callable[[], bool]:
    """A link to a descriptor that is no target is EBADF or the like; without links, EINVAL."""

    def there() -> bool:
        program = _program(kind, attach)
        if program < 0:
            return False
        try:
            return _bpf(_LINK_CREATE, struct.pack("=IiI", program, -1, attach)) == -errno.EBADF
        finally:
            os.close(program)

    return there


def _tcx() -> bool:
    """Of a device that is none: ENODEV where tcx is known."""
    program = _program(_SCHED_CLS, 0)
    try:
        made = _bpf(_LINK_CREATE, struct.pack("=IiI", program, 0x7FFFFFF0, _TCX_INGRESS))
        return made == -errno.ENODEV
    finally:
        _works(program)


def _batches() -> bool:
    table = _map(_HASH, 4, 4, 1)
    try:
        token = ctypes.create_string_buffer(16)
        place = ctypes.addressof(token)
        asked = struct.pack("=4Q2I2Q", 0, place, place, place, 1, table, 0, 0)
        return _bpf(_MAP_LOOKUP_BATCH, asked) in {0, -errno.ENOENT}
    finally:
        _works(table)


def _udp_lite() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE).close()
    except OSError:
        return False
    return True


def _netns_option() -> bool:
    with socket.socket() as asked:
        try:
            return len(asked.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)) == 8
        except OSError:
            return False


def _destroys_sockets() -> bool:
    """SOCK_DESTROY of a socket that is not there: ENOENT, where there is such a message."""
    request = struct.pack("=BBxxI", socket.AF_INET, socket.IPPROTO_TCP, 0)
    request += bytes(40) + b"\xff" * 8  # inet_diag_sockid, with INET_DIAG_NOCOOKIE
    flags = 1 | 4  # NLM_F_REQUEST, NLM_F_ACK
    message = struct.pack("=IHHII", 16 + len(request), 21, flags, 1, 0) + request
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 4) as diag:
        diag.settimeout(5)
        diag.send(message)
        (answer,) = struct.unpack_from("=i", diag.recv(4096), 16)
    return int(answer) != -errno.EOPNOTSUPP


def _takes(ruleset: str) -> bool:
    """Whether nft can load it, in a network namespace that is gone afterwards."""
    command = ["unshare", "--net", "nft", "-f", "-"]
    return not subprocess.run(
        command, input=ruleset.encode(), capture_output=True, check=False
    ).returncode


@functools.cache
def _configuration() -> str:
    """How this kernel was built; "" where nothing says so."""
    packed, plain = Path("/proc/config.gz"), Path(f"/boot/config-{platform.release()}")
    if packed.exists():
        return gzip.decompress(packed.read_bytes()).decode()
    return plain.read_text() if plain.exists() else ""


def _left_out(option: str) -> bool:
    return f"# {option} is not set" in _configuration().splitlines()


FEATURES = {
    "netns_cookie": Feature(
        "bpf_get_netns_cookie in cgroup programs",
        (5, 7),
        _loads(_SOCK_ADDR, _CONNECT4, (_GET_NETNS_COOKIE, None)),
    ),
    "cgroup_link": Feature("bpf_link of a cgroup", (5, 7), _links(_SOCK_ADDR, _CONNECT4)),
    "map_batch": Feature("batches of map elements", (5, 6), _batches),
    "getpeername": Feature(
        "the getpeername hooks of a cgroup", (5, 8), _loads(_SOCK_ADDR, _GETPEERNAME4)
    ),
    "ringbuf": Feature("the ring buffer map", (5, 8), lambda: _works(_map(_RING, 0, 0, 4096))),
    "sock_release": Feature(
        "the sock_release hook of a cgroup",
        (5, 9),
        _loads(_CGROUP_SOCK, _SOCK_RELEASE, (_GET_SOCKET_COOKIE, None)),
    ),
    "nft_catchall": Feature(
        "an element * of nftables' sets",
        (5, 13),
        lambda: _takes("table ip t { set s { type ipv4_addr; elements = { * } ; } ; }"),
    ),
    "so_netns_cookie": Feature("the socket option SO_NETNS_COOKIE", (5, 14), _netns_option),
    "set_retval": Feature(
        "bpf_set_retval in cgroup programs",
        (5, 18),
        _loads(_SOCK_ADDR, _CONNECT4, (_SET_RETVAL, -errno.ECONNREFUSED)),
    ),
    "udp_lite": Feature("UDP-Lite", (2, 6), _udp_lite, until=(7, 1)),
    "tcx": Feature("tcx, tc programs by bpf_link", (6, 6), _tcx),
    "sock_destroy": Feature(
        "SOCK_DESTROY by sock_diag", (4, 5), _destroys_sockets, _INET_DIAG_DESTROY
    ),
}
