"""A set or map as the kernel tells of it (NFT_MSG_GETSET), and what its keys and values are.

nft keeps in the kernel what the kernel has no use for: the key's type as a number of its own,
and as userdata the set's comment and the expressions of its `typeof`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from podwire_core.netlink import attributes
from podwire_core.nft.datatypes import NUMGEN, Datatype, Layout, Unreadable, layout
from podwire_core.nft.netlink import Attributes, number, text, userdata

_NAME, _FLAGS, _KEY_TYPE, _KEY_LEN, _DATA_TYPE, _DATA_LEN = 2, 3, 4, 5, 6, 7  # NFTA_SET_*
_USERDATA, _COUNT = 13, 20  # NFTA_SET_*
_ANONYMOUS, _INTERVAL, _MAP, _TIMEOUT, _EVAL, _OBJECT = 0x1, 0x4, 0x8, 0x10, 0x20, 0x40  # NFT_SET_*
VALUE, VERDICT = 1, 2  # NFTA_DATA_*
_VERDICT_TYPE = 0xFFFFFF00  # NFT_DATA_VERDICT
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
#: NFTNL_UDATA_SET_*, and libnftables' numbers of expressions (enum expr_types) in them.
_KEY_TYPEOF, _DATA_TYPEOF, _DATA_INTERVAL, _COMMENT = 3, 4, 6, 7
_EXPR_CONCAT, _EXPR_NUMGEN = 13, 23


@dataclass(frozen=True)
class Declared:
    """What GETSET says of a set or map."""

    fields: Attributes

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.fields.get(_NAME))

    @property
    def anonymous(self) -> bool:
        """Whether it is a part of a rule, not an object."""
        return bool(self._flags & _ANONYMOUS)

    @property
    def noun(self) -> str:
        """nft's noun: "map" or "set"."""
        return "map" if self._flags & (_MAP | _OBJECT) else "set"

    @property
    def comment(self) -> str:
        """Its comment, "?" when it has none."""
        found = self._userdata.get(_COMMENT)
        return "?" if found is None else text(found)

    @property
    def interval(self) -> bool:
        """Whether its keys are intervals."""
        return bool(self._flags & _INTERVAL)

    @property
    def dynamic(self) -> bool:
        """Whether its elements go by themselves: then they are no part of what is in force."""
        return bool(self._flags & _TIMEOUT)

    @property
    def size(self) -> int | None:
        """How many elements a dump must have, where the kernel says so (since Linux 6.16).

        A hash table that the kernel enlarges while it is dumped leaves some out, and says
        nothing: no commit need be near. Sets that lose elements by themselves have no size.
        """
        return None if self._flags & (_INTERVAL | _TIMEOUT | _EVAL) else self.count

    @property
    def count(self) -> int | None:
        """How many elements it has now, where the kernel says so."""
        return number(self.fields[_COUNT]) if _COUNT in self.fields else None

    @property
    def _flags(self) -> int:
        return number(self.fields.get(_FLAGS))

    @property
    def data_length(self) -> int:
        """Bytes of a value of a map, 0 for verdicts and sets."""
        length = number(self.fields.get(_DATA_LEN))
        return 0 if number(self.fields.get(_DATA_TYPE)) == _VERDICT_TYPE else length

    def key(self) -> Layout:
        """What its keys are. Raises Unreadable."""
        return self._layout(_KEY_TYPE, _KEY_LEN, _KEY_TYPEOF)

    def data(self) -> Callable[[bytes], str]:
        """What spells its data (NFTA_SET_ELEM_DATA). Raises Unreadable."""
        if self._flags & _OBJECT or number(self._userdata.get(_DATA_INTERVAL)):
            raise Unreadable
        if not self._flags & _MAP:
            return _no_data
        values = self.values()
        if values is None:
            return _Verdicts()
        words, end = values.words, 4 + values.length  # behind it is padding
        return lambda data: words(data[4:end])

    def values(self) -> Layout | None:
        """What a map's values are; None for verdicts and for sets. Raises Unreadable."""
        if self._flags & _OBJECT:
            raise Unreadable
        if not self._flags & _MAP or number(self.fields.get(_DATA_TYPE)) == _VERDICT_TYPE:
            return None
        return self._layout(_DATA_TYPE, _DATA_LEN, _DATA_TYPEOF)

    @property
    def _userdata(self) -> Attributes:
        return userdata(self.fields.get(_USERDATA))

    def _layout(self, kind: int, length: int, typeof: int) -> Layout:
        return layout(
            number(self.fields.get(kind)),
            number(self.fields.get(length)),
            _integers(self._userdata.get(typeof, b"")),
        )


def _no_data(data: bytes) -> str:
    if data:
        raise Unreadable
    return ""


class _Verdicts(dict[bytes, str]):
    """Spells verdicts; many elements have the same."""

    def __call__(self, data: bytes) -> str:
        return self[data]

    def __missing__(self, data: bytes) -> str:
        found = attributes(attributes(data).get(VERDICT, b""))
        code = int.from_bytes(found.get(1, b""), "big", signed=True)  # NFTA_VERDICT_CODE
        if code not in _VERDICTS:
            raise Unreadable
        chain = text(found.get(2))  # NFTA_VERDICT_CHAIN
        self[data] = words = f"{_VERDICTS[code]} {chain}".rstrip()
        return words


def _integers(typeof: bytes) -> dict[int, Datatype]:
    """Parts that the set's `typeof` says are numgen's, by position."""
    outer = userdata(typeof)
    parts = {0: outer}
    if _expression(outer) == _EXPR_CONCAT:
        parts = {index: userdata(each) for index, each in userdata(outer.get(1)).items()}
    return {index: NUMGEN for index, each in parts.items() if _expression(each) == _EXPR_NUMGEN}


def _expression(part: Attributes) -> int:
    return int.from_bytes(part.get(0, b""), sys.byteorder)
