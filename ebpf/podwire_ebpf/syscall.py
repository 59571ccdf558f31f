"""bpf(2), spoken raw: numbers in, numbers and bytes out (linux/bpf.h, `union bpf_attr`).

    maps       create, get, update, delete, and many at once (batches: Linux 5.6)
    objects    pin a descriptor at a path of bpffs, get it back, say what it is
    programs   load
    links      create, update (Linux 5.7): an attachment that lasts as long as its pin
    cgroups    which programs are in effect

Every function raises OSError with the kernel's error. Descriptors are close-on-exec, as the kernel
makes them, and are the caller's to close.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_ATTRIBUTES = 128  # bytes of union bpf_attr that any call here uses, and zeros
_NAME = 15  # BPF_OBJ_NAME_LEN without its end

_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT = 0, 1, 2, 3, 4
_PROG_LOAD, _PIN, _GET = 5, 6, 7
_INFO, _QUERY = 15, 16
_LOOKUP_BATCH, _UPDATE_BATCH, _DELETE_BATCH = 24, 26, 27
_LINK_CREATE, _LINK_UPDATE, _LINK_DETACH = 28, 29, 34
_PROGRAM_BY_ID, _MAP_BY_ID, _LINK_BY_ID, _NEXT_LINK = 13, 14, 30, 31

READ_ONLY = 1 << 3  # BPF_F_RDONLY
CGROUP_LINK = 3  # BPF_LINK_TYPE_CGROUP
_EFFECTIVE = 1  # BPF_F_QUERY_EFFECTIVE
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS: as many as the kernel lets one cgroup have
_MOST_MAPS = 64  # MAX_USED_MAPS: as many as one program can use
_TRIES = 5  # a load is interrupted by signals; libbpf tries as often

_libc = ctypes.CDLL(None, use_errno=True)


def bpf(command: int, attributes: bytes) -> int:
    """The call's answer."""
    code, _ = _call(command, attributes)
    if code < 0:
        raise OSError(-code, os.strerror(-code))
    return code


def _call(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The call's answer, or its error, negative; and the attributes, which may hold answers too."""
    number = _NUMBERS.get(platform.machine())
    if number is None:
        return -errno.ENOSYS, attributes
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    answer = int(_libc.syscall(number, command, buffer, _ATTRIBUTES))
    return (answer if answer >= 0 else -ctypes.get_errno()), buffer.raw


def _address(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def _copy(data: bytes | bytearray) -> ctypes.Array[ctypes.c_char]:
    return (ctypes.c_char * max(len(data), 1)).from_buffer_copy(data or b"\0")


# ---------------------------------------------------------------------------------------- maps

_CREATE = struct.Struct("=7I16s")
_ELEMENT = struct.Struct("=IxxxxQQQ")
_BATCH = struct.Struct("=4Q2I2Q")
_WORD = struct.Struct("=I")
_COUNT = 32  # where struct.count of _BATCH stands


class MapKind(NamedTuple):
    """What a map is made as.  kind: BPF_MAP_TYPE_*.  Sizes in bytes.  flags: BPF_F_*."""

    kind: int
    key: int
    value: int
    entries: int
    flags: int


def create_map(name: str, made: MapKind) -> int:
    """A new map's descriptor."""
    return bpf(_MAP_CREATE, _CREATE.pack(*made, 0, 0, name.encode()[:_NAME]))


def lookup(table: int, key: bytes, size: int) -> bytes:
    """A value of so many bytes. ENOENT: there is none."""
    asked, found = _copy(key), ctypes.create_string_buffer(size)
    bpf(_LOOKUP, _ELEMENT.pack(table, _address(asked), _address(found), 0))
    return found.raw


def update(table: int, key: bytes, value: bytes) -> None:
    """Put one element in, whether there is one or not. E2BIG: the map is full."""
    asked, given = _copy(key), _copy(value)
    bpf(_UPDATE, _ELEMENT.pack(table, _address(asked), _address(given), 0))


def delete(table: int, key: bytes) -> None:
    """Take one element out. ENOENT: there is none."""
    asked = _copy(key)
    bpf(_DELETE, _ELEMENT.pack(table, _address(asked), 0, 0))


def next_key(table: int, key: bytes | None, size: int) -> bytes:
    """The key after one, or the first. ENOENT: it was the last."""
    asked = _copy(key) if key is not None else None
    found = ctypes.create_string_buffer(size)
    places = (_address(asked) if asked else 0, _address(found))
    bpf(_NEXT, _ELEMENT.pack(table, *places, 0))
    return found.raw


def update_batch(table: int, keys: bytes, values: bytes, count: int) -> tuple[int, int]:
    """Put many in; how many are in, and the error of the next one or 0."""
    return _batch(_UPDATE_BATCH, table, keys, values, count)


def delete_batch(table: int, keys: bytes, count: int) -> tuple[int, int]:
    """Take many out; how many are out, and the error of the next one or 0."""
    return _batch(_DELETE_BATCH, table, keys, b"", count)


def _batch(command: int, table: int, keys: bytes, values: bytes, count: int) -> tuple[int, int]:
    asked, given = _copy(keys), _copy(values)
    attributes = _BATCH.pack(0, 0, _address(asked), _address(given), count, table, 0, 0)
    code, after = _call(command, attributes)
    (done,) = _WORD.unpack_from(after, _COUNT)
    if code >= 0:
        return done, 0
    # A call that failed before its first element has left the count as it was given.
    return (done if done < count else 0), -code


class Part(NamedTuple):
    """What one lookup_batch found.  cursor: where the next goes on; None: it was the last."""

    keys: bytes
    values: bytes
    count: int  # type: ignore[assignment] # hides tuple.count, which a record has no use for
    cursor: bytes | None


def lookup_batch(
    table: int, cursor: bytes | None, count: int, key_size: int, value_size: int
) -> Part:
    """Up to `count` elements, from the beginning (None) or from a cursor.

    ENOSPC: a bucket of the hash holds more than `count`; ask again with more.
    """
    keys = ctypes.create_string_buffer(count * key_size)
    values = ctypes.create_string_buffer(count * value_size)
    begin = _copy(cursor) if cursor is not None else None
    end = ctypes.create_string_buffer(max(key_size, 4))
    places = (_address(begin) if begin else 0, _address(end), _address(keys), _address(values))
    code, after = _call(_LOOKUP_BATCH, _BATCH.pack(*places, count, table, 0, 0))
    if code < 0 and code != -errno.ENOENT:
        raise OSError(-code, os.strerror(-code))
    further = end.raw if code >= 0 else None
    (found,) = _WORD.unpack_from(after, _COUNT)
    return Part(keys.raw[: found * key_size], values.raw[: found * value_size], found, further)


# ------------------------------------------------------------------------------------- objects

_OBJECT = struct.Struct("=QII")


def pin(descriptor: int, path: Path) -> None:
    """Give an object a name in bpffs, which keeps it. EEXIST: the name is taken."""
    name = _copy(os.fsencode(path) + b"\0")
    bpf(_PIN, _OBJECT.pack(_address(name), descriptor, 0))


def get(path: Path, flags: int = 0) -> int:
    """The descriptor of what is pinned at a path.  flags: READ_ONLY, of maps."""
    name = _copy(os.fsencode(path) + b"\0")
    return bpf(_GET, _OBJECT.pack(_address(name), 0, flags))


class MapInfo(NamedTuple):
    """What a map is, as the kernel says."""

    id: int
    made: MapKind
    name: str


class ProgramInfo(NamedTuple):
    """What a program is.  maps: ids of those it uses."""

    id: int
    kind: int
    name: str
    maps: frozenset[int]


class LinkInfo(NamedTuple):
    """What a link of a cgroup joins.  cgroup: its id, its folder's inode; 0: it is gone.

    kind: BPF_LINK_TYPE_*; of other kinds than CGROUP_LINK cgroup and attach mean nothing.
    """

    id: int
    program: int
    cgroup: int
    attach: int
    kind: int


def map_info(descriptor: int) -> MapInfo:
    """Of a map's descriptor."""
    told = _info(descriptor, 80)
    kind, identity, key, value, entries, flags = struct.unpack_from("=6I", told)
    return MapInfo(identity, MapKind(kind, key, value, entries, flags), _name(told[24:40]))


def program_info(descriptor: int) -> ProgramInfo:
    """Of a program's descriptor."""
    maps = (ctypes.c_uint32 * _MOST_MAPS)()
    asked = bytearray(80)
    struct.pack_into("=IQ", asked, 52, _MOST_MAPS, ctypes.addressof(maps))
    told = _info(descriptor, len(asked), asked)
    kind, identity = struct.unpack_from("=2I", told)
    (count,) = struct.unpack_from("=I", told, 52)
    used = frozenset(maps[: min(count, _MOST_MAPS)])
    return ProgramInfo(identity, kind, _name(told[64:80]), used)


def link_info(descriptor: int) -> LinkInfo:
    """Of the descriptor of a cgroup's link."""
    told = _info(descriptor, 32)
    kind, identity, program = struct.unpack_from("=3I", told)
    cgroup, attach = struct.unpack_from("=QI", told, 16)
    return LinkInfo(identity, program, cgroup, attach, kind)


def _name(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("ascii", "replace")


def _info(descriptor: int, size: int, given: bytes | bytearray = b"") -> bytes:
    buffer = ctypes.create_string_buffer(bytes(given), size)
    bpf(_INFO, struct.pack("=IIQ", descriptor, size, _address(buffer)))
    return buffer.raw


# ------------------------------------------------------------------------- programs, links

_LOAD = struct.Struct("=2I2Q2IQ2I16s2I")


def load(kind: int, attach: int, instructions: bytes) -> int:
    """A program's descriptor, of instructions without maps: probes, mostly.

    kind: BPF_PROG_TYPE_*.  attach: enum bpf_attach_type.
    """
    code, words = _copy(instructions), _copy(b"GPL\0")
    places = (_address(code), _address(words))
    asked = _LOAD.pack(kind, len(instructions) // 8, *places, 0, 0, 0, 0, 0, b"", 0, attach)
    for _ in range(_TRIES - 1):
        try:
            return bpf(_PROG_LOAD, asked)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
    return bpf(_PROG_LOAD, asked)


def create_link(program: int, target: int, attach: int) -> int:
    """Attach a program beside others; it is detached when the link has no descriptor and no pin.

    target: descriptor of a cgroup's folder.
    """
    return bpf(_LINK_CREATE, struct.pack("=4I", program, target, attach, 0))


def update_link(link: int, program: int) -> None:
    """Put another program in a link's place: each event is seen by the old one or by the new."""
    bpf(_LINK_UPDATE, struct.pack("=4I", link, program, 0, 0))


def detach_link(link: int) -> None:
    """Detach a link's program; the link stays, and does nothing."""
    bpf(_LINK_DETACH, struct.pack("=I", link))


def program_by_id(identity: int) -> int:
    """A program's descriptor. ENOENT: it is gone."""
    return bpf(_PROGRAM_BY_ID, struct.pack("=3I", identity, 0, 0))


def map_by_id(identity: int) -> int:
    """A map's descriptor, to read. ENOENT: it is gone."""
    return bpf(_MAP_BY_ID, struct.pack("=3I", identity, 0, READ_ONLY))


def link_by_id(identity: int) -> int:
    """A link's descriptor (5.8). ENOENT: it is gone."""
    return bpf(_LINK_BY_ID, struct.pack("=3I", identity, 0, 0))


def next_link(identity: int) -> int:
    """The machine's next link after one, by id; 0 begins (5.8). ENOENT: it was the last."""
    code, after = _call(_NEXT_LINK, struct.pack("=3I", identity, 0, 0))
    if code < 0:
        raise OSError(-code, os.strerror(-code))
    (found,) = _WORD.unpack_from(after, 4)
    return int(found)


def effective(cgroup: int, attach: int) -> Sequence[int]:
    """Ids of the programs that run for a socket of a cgroup, in order: its own and its parents'."""
    return _query(cgroup, attach, _EFFECTIVE)


def attached(cgroup: int, attach: int) -> Sequence[int]:
    """Ids of the programs that are attached to a cgroup itself."""
    return _query(cgroup, attach, 0)


def _query(cgroup: int, attach: int, flags: int) -> Sequence[int]:
    found = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    asked = struct.pack("=4IQI", cgroup, attach, flags, 0, ctypes.addressof(found), _MOST_PROGRAMS)
    code, after = _call(_QUERY, asked)
    if code < 0:
        raise OSError(-code, os.strerror(-code))
    (count,) = _WORD.unpack_from(after, 24)
    return found[:count]
