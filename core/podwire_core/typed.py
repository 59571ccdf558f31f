"""Plain data read as a type: the one door to msgspec's typed decoding, safe among threads.

msgspec works out how a struct is read when it is first asked for, and puts what it has so far
where other threads find it: two threads that begin with the same struct, or with two that have a
third in common, crash the process (msgspec 0.22, _core.c, StructInfo_Convert: the GIL is given up
while annotations are evaluated). So a type is worked out here, under a lock, before it is used.
"""

from __future__ import annotations

import threading
from types import UnionType
from typing import Any, TypeVar, cast, overload

import msgspec

T = TypeVar("T")

_lock = threading.Lock()
_decoders: dict[object, msgspec.json.Decoder[Any]] = {}


def decode(data: bytes | str | msgspec.Raw, kind: type[T]) -> T:
    """JSON as its type. Raises msgspec.DecodeError, and ValidationError, which is one of these."""
    return cast("T", _decoder(kind).decode(data))


@overload
def convert(value: object, kind: type[T]) -> T: ...


@overload
def convert(value: object, kind: UnionType) -> Any: ...


def convert(value: object, kind: type[T] | UnionType) -> T | Any:
    """Dicts, lists and scalars as their type. Raises msgspec.ValidationError."""
    _decoder(kind)
    return msgspec.convert(value, kind)


def _decoder(kind: type[Any] | UnionType) -> msgspec.json.Decoder[Any]:
    return _decoders.get(kind) or _work_out(kind)


def _work_out(kind: type[Any] | UnionType) -> msgspec.json.Decoder[Any]:
    """One type at a time. Raises TypeError for one that msgspec cannot read."""
    with _lock:
        return _decoders.setdefault(kind, msgspec.json.Decoder(kind))
