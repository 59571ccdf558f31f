"""Typed reads of a decoded JSON object; whatever is wrong is BadConfig that begins with its key.

| read            | absent or null | else                                        |
|-----------------|----------------|---------------------------------------------|
| `typed`         | None           | a value of that type                        |
| `integer`       | None           | a whole number within bounds; no true, no 1.0 |
| `listed`        | is an error    | a list of at most so many items             |

`where` is the path of the object itself: "" for the configuration, "runtimeConfig." below it.
"""

from collections.abc import Mapping
from typing import TypeAlias, TypeVar

from podwire_cni.errors import BadConfig

JsonObject: TypeAlias = Mapping[str, object]
_T = TypeVar("_T")

_SHOWN = 100  # characters of a wrong value that an error quotes


def typed(raw: JsonObject, key: str, kind: type[_T], words: str, where: str = "") -> _T | None:
    """The value of a key, or None. Raises BadConfig that says what was expected: `words`."""
    value = raw.get(key)
    if value is not None and not isinstance(value, kind):
        raise BadConfig(f"{where}{key}: expected {words}, found {kind_of(value)}")
    return value


def integer(raw: JsonObject, key: str, least: int, most: int, where: str = "") -> int | None:
    """A whole number from `least` to `most`, or None."""
    value = typed(raw, key, int, "a whole number", where)
    # JSON's true is Python's 1.
    if isinstance(value, bool) or (value is not None and not least <= value <= most):
        raise BadConfig(
            f"{where}{key}: {quoted(value)} is not a whole number from {least} to {most}"
        )
    return value


def mapping(raw: JsonObject, key: str, where: str = "") -> JsonObject:
    """The object under a key; an empty one when it is absent."""
    return typed(raw, key, dict, "an object", where) or {}


def spelled(raw: JsonObject, *names: str) -> dict[str, object]:
    """The fields of these names, whatever their case; what is absent is None.

    containerd and CRI-O write `HostPort` and `IngressRate` (go-cni's and ocicni's types name no
    JSON keys), which plugins in Go take for hostPort and ingressRate: encoding/json prefers the
    exact name and accepts any case.
    """
    folded = {key.lower(): value for key, value in raw.items()}
    return {name: raw.get(name, folded.get(name.lower())) for name in names}


def listed(key: str, value: object, most: int | None = None) -> list[object]:
    """The value, which must be a list. most: how many items it may have."""
    if not isinstance(value, list):
        raise BadConfig(f"{key}: expected a list, found {kind_of(value)}")
    if most is not None and len(value) > most:
        raise BadConfig(f"{key}: {len(value)} items, at most {most} are taken")
    return value


def objects(key: str, value: object, most: int) -> list[JsonObject]:
    """The value, which must be a list of objects; an error names the item's index."""
    found: list[JsonObject] = []
    for index, item in enumerate(listed(key, value, most)):
        if not isinstance(item, dict):
            raise BadConfig(f"{key}[{index}]: expected an object, found {kind_of(item)}")
        found.append(item)
    return found


def kind_of(value: object) -> str:
    """What a JSON value is, for an error; scalars are quoted."""
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
    return "nothing" if value is None else names.get(type(value), quoted(value))


def quoted(value: object) -> str:
    """A wrong value for an error, cut where it is too long for one."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
