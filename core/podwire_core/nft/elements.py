"""A set's elements as the kernel dumps them (NFT_MSG_GETSETELEM) → key text and fingerprint.

    NFTA_SET_ELEM_LIST_ELEMENTS
      NFTA_LIST_ELEM      KEY { VALUE }   DATA { VALUE | VERDICT { CODE, CHAIN } }
                          FLAGS   KEY_END { VALUE }   USERDATA { comment }

Other attributes (timeouts, counters) are no part of what an element is. An interval is two
elements: its first value, and with a flag the first value behind it. One that reaches to the
last value there is has no second. In a concatenation it is one element with KEY and KEY_END.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from podwire_core.netlink import attributes, each_attribute
from podwire_core.nft.datatypes import Layout, Unreadable
from podwire_core.nft.netlink import fields_of, number, text, userdata
from podwire_core.nft.objects import element_fingerprint
from podwire_core.nft.sets import VALUE, Declared

_LIST_ELEMENTS = 3  # NFTA_SET_ELEM_LIST_ELEMENTS
_LIST_ELEM = 1  # NFTA_LIST_ELEM
_KEY, _DATA, _FLAGS, _USERDATA, _OBJREF, _KEY_END = 1, 2, 3, 6, 9, 10  # NFTA_SET_ELEM_*
_TIMEOUT, _EXPIRATION = 4, 5  # NFTA_SET_ELEM_*; the first where it is not the set's
_TIMES = ((), (_EXPIRATION,), (_TIMEOUT, _EXPIRATION))
_TIME = 12  # bytes of such an attribute
_INTERVAL_END = 0x1  # NFT_SET_ELEM_*; for an element with another flag we ask libnftables


class Row(NamedTuple):
    """One element's attributes, each without its headers."""

    key: bytes
    data: bytes = b""
    flags: int = 0
    userdata: bytes = b""
    key_end: bytes = b""


def rows_of(declared: Declared, bodies: Iterable[bytes]) -> Iterator[Row]:
    """Every element of a dump, as the kernel says it. Raises Unreadable."""
    plain = _Plain(declared.key().length, declared.data_length)
    return (row for body in bodies for row in plain.rows(_list_of(body)))


def spelled(declared: Declared, rows: Iterable[Row]) -> dict[str, str]:
    """Elements' key texts → fingerprints. Raises Unreadable."""
    key, data = declared.key(), declared.data()
    try:
        if declared.interval:
            spans = _spans(key, rows)
            return {key.span(*span): _fingerprint(data, row) for span, row in spans}
        return {key.words(row.key): _fingerprint(data, row) for row in rows}
    except (struct.error, OverflowError) as error:  # lengths and bounds that cannot be
        raise Unreadable from error


def elements(declared: Declared, bodies: Iterable[bytes]) -> dict[str, str]:
    """Every element of a dump: key text → fingerprint. Raises Unreadable."""
    return spelled(declared, rows_of(declared, bodies))


def fingerprint_of(declared: Declared, row: Row) -> str:
    """One element's value and comment. Raises Unreadable."""
    return _fingerprint(declared.data(), row)


def _list_of(body: bytes) -> bytes:
    return fields_of(body).get(_LIST_ELEMENTS, b"")


class _Plain:
    """Elements that have a key and data alone, and times in dynamic sets: most of them.

    Their headers are always the same bytes, so that one struct tells the values of a list apart:
    four times as fast as walking through the attributes.
    """

    def __init__(self, key_length: int, data_length: int) -> None:
        shapes = [_Shape(key_length, data_length, times) for times in _TIMES]
        self._shapes = {shape.size: shape for shape in shapes}

    def rows(self, listed: bytes) -> Iterable[Row]:
        """The elements of one list."""
        shape = self._shapes.get(int.from_bytes(listed[:2], sys.byteorder))
        found = shape.rows(listed) if shape else None
        return _rows(listed) if found is None else found


class _Shape:
    """Elements of one size. times: which of _TIMEOUT and _EXPIRATION follow the data."""

    def __init__(self, key_length: int, data_length: int, times: tuple[int, ...]) -> None:
        key, data = _value(_KEY, key_length), _value(_DATA, data_length) if data_length else b""
        self.size = 4 + len(key) + len(data) + _TIME * len(times)
        self._key_header = _header(self.size, _LIST_ELEM) + key[:8]
        self._data_header = data[:8]
        self._time_headers = [_header(_TIME, kind) for kind in times]
        codes = f"12s{key_length}s{-key_length % 4}x"
        codes += f"8s{data_length}s{-data_length % 4}x" if data_length else "0s0s"
        self._struct = struct.Struct(f"={codes}{f'4s{_TIME - 4}x' * len(times)}")

    def rows(self, listed: bytes) -> list[Row] | None:
        """The elements of one list, None where one has another shape."""
        if len(listed) % self.size:
            return None
        found = []
        for key_header, key, data_header, data, *times in self._struct.iter_unpack(listed):
            if key_header != self._key_header or data_header != self._data_header:
                return None
            if times != self._time_headers:
                return None
            found.append(Row(key, data_header[4:] + data))
        return found


def _header(length: int, kind: int) -> bytes:
    return struct.pack("=HH", length, kind)


def _value(kind: int, length: int) -> bytes:
    """An attribute that holds a value of this many bytes, here zeros."""
    padded = (length + 3) & ~3
    return _header(8 + padded, kind) + _header(4 + length, VALUE) + bytes(padded)


def _rows(listed: bytes) -> Iterator[Row]:
    for _, item in each_attribute(listed):
        found = attributes(item)
        flags = number(found.get(_FLAGS))
        if _KEY not in found or _OBJREF in found or flags & ~_INTERVAL_END:
            raise Unreadable  # a catch-all, a map of objects, or something newer than this
        yield Row(
            _value_in(found[_KEY]),
            found.get(_DATA, b""),
            flags,
            found.get(_USERDATA, b""),
            _value_in(found.get(_KEY_END, b"")),
        )


def _value_in(data: bytes) -> bytes:
    return attributes(data).get(VALUE, b"")


def _fingerprint(data: Callable[[bytes], str], row: Row) -> str:
    comment = ""
    if row.userdata:
        comment = text(userdata(row.userdata).get(0))  # NFTNL_UDATA_SET_ELEM_COMMENT
    return element_fingerprint(data(row.data), comment)


def _spans(key: Layout, rows: Iterable[Row]) -> Iterator[tuple[tuple[bytes, bytes], Row]]:
    """((first, last), element) of every interval."""
    if key.concatenated:
        for row in rows:
            yield (row.key, row.key_end or row.key), row
        return
    bounds = sorted(rows, key=lambda row: (row.key, not row.flags))
    last = b"\xff" * key.length
    for row, behind in zip(bounds, [*bounds[1:], None], strict=False):
        if row.key_end or len(row.key) != key.length:
            raise Unreadable
        if not row.flags:
            yield (row.key, _before(behind.key) if behind else last), row


def _before(key: bytes) -> bytes:
    return (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big")
