"""Asks the kernel what one packet would find: an element by its key, and what rules have counted.

    get(table, set, ("10.244.1.5",))  ─► Element(…, ("10.244.1.5",), goto("ingress-3f"))  or None
    rules(table, "ingress-3f")        ─► Counted("… #4fd0a1b2", packets=3, bytes=180), …

The kernel looks an element up as it does for a packet, so that an interval that holds the key is
found. Nothing is remembered but what a set's keys are, until forget().
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

from podwire_core.errors import NftError
from podwire_core.netlink import attribute, attributes, each_attribute, nested
from podwire_core.nft import netlink
from podwire_core.nft.datatypes import Layout, Unreadable
from podwire_core.nft.elements import Row, elements, fingerprint_of, rows_of
from podwire_core.nft.netlink import Absent, Attributes, Questions, name, number, text, userdata
from podwire_core.nft.objects import Element, Key, Table
from podwire_core.nft.sets import VALUE, Declared
from podwire_core.nft.statements import Verdict, VerdictKind

_LIST, _ELEM = 3, 1  # NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM
_KEY, _FLAGS = 1, 3  # NFTA_SET_ELEM_*
_INTERVAL_END = 0x1  # NFT_SET_ELEM_INTERVAL_END
_RULE_TABLE, _RULE_CHAIN, _EXPRESSIONS, _RULE_USERDATA = 1, 2, 4, 7  # NFTA_RULE_*
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2  # NFTA_EXPR_*
_BYTES, _PACKETS = 1, 2  # NFTA_COUNTER_*
_VERDICT = re.compile(rf"({'|'.join(VerdictKind)})(?: (\S+))?")


class Counted(NamedTuple):
    """A rule in force: where, by what comment it is known, and what it counted.

    packets, bytes: None where the rule counts nothing.
    """

    chain: str
    comment: str
    packets: int | None = None
    bytes: int | None = None


class Lookup:
    """Looks into the nf_tables of the network namespace it was made in; for one thread.

    All of it raises NftError; Absent where there is no such table, set or chain. Close it, or its
    socket lives as long as it does.
    """

    def __init__(self) -> None:
        try:
            self._questions = Questions()
        except OSError as error:  # no descriptor is free
            raise NftError(f"the kernel cannot be asked: {error.strerror}") from error
        self._declared: dict[Key, Declared] = {}

    def close(self) -> None:
        """Give back the socket."""
        self._questions.close()

    def forget(self) -> None:
        """Sets may have been made anew since: ask for their types again."""
        self._declared.clear()

    def get(self, table: Table, set_name: str, parts: Sequence[str]) -> Element | None:
        """The element that a packet with this key finds, None where it finds none.

        parts: values, no networks or ranges. The answer's are the element's own.
        """
        declared = self._declare(table, set_name)
        try:
            layout = declared.key()
            row = self._row(table, set_name, declared, layout.value(parts))
            if row is None:
                return None
            return self._element(table, set_name, declared, row)
        except (Unreadable, struct.error) as error:
            what = f"{table.text} {set_name}: {' . '.join(parts)}"
            raise NftError(f"the kernel cannot be asked for this: {what}") from error

    def rules(self, table: Table, chain: str = "") -> list[Counted]:
        """The rules of a chain in order, or of all chains of the table."""
        names = name(_RULE_TABLE, table.name) + (name(_RULE_CHAIN, chain) if chain else b"")
        found = []
        with closing(self._questions.dump(netlink.GETRULE, table.family.nft, names)) as dump:
            for body in dump:
                fields = netlink.fields_of(body)
                if text(fields.get(_RULE_TABLE)) == table.name:
                    found.append(_counted(fields))
        if chain:
            return self._of(table, chain, found)
        return found

    def _of(self, table: Table, chain: str, found: Sequence[Counted]) -> list[Counted]:
        """Of one chain; a dump says nothing of a chain that is not there."""
        if not found:
            names = name(1, table.name) + name(3, chain)  # NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME
            self._questions.one(netlink.GETCHAIN, table.family.nft, names)
        return [each for each in found if each.chain == chain]

    def _declare(self, table: Table, set_name: str) -> Declared:
        key = (*table.key, "set", set_name)
        if key not in self._declared:
            names = name(1, table.name) + name(2, set_name)
            fields = self._questions.one(netlink.GETSET, table.family.nft, names)
            self._declared[key] = Declared(fields)
        return self._declared[key]

    def _row(
        self, table: Table, set_name: str, declared: Declared, key: bytes, flags: int = 0
    ) -> Row | None:
        flag = attribute(_FLAGS, flags.to_bytes(4, "big")) if flags else b""
        item = nested(_ELEM, nested(_KEY, attribute(VALUE, key)) + flag)
        names = name(1, table.name) + name(2, set_name)
        try:
            body = self._questions.body_of_one(
                netlink.GETSETELEM, table.family.nft, names + nested(_LIST, item)
            )
        except Absent:
            return None
        return next(iter(rows_of(declared, [body])), None)

    def _element(self, table: Table, set_name: str, declared: Declared, row: Row) -> Element:
        layout = declared.key()
        if declared.interval and not layout.concatenated:
            words = self._interval(table, set_name, declared, row)
        else:
            words = layout.span(row.key, row.key_end or row.key)
        data, _, comment = fingerprint_of(declared, row).partition("\n")
        return Element(table, set_name, tuple(words.split(" . ")), _data(data), comment)

    def _interval(self, table: Table, set_name: str, declared: Declared, row: Row) -> str:
        """The words of the interval that begins here.

        Where it ends is another element, or none (see elements): the whole set knows.
        """
        layout: Layout = declared.key()
        names = name(1, table.name) + name(2, set_name)
        dump = self._questions.dump(netlink.GETSETELEM, table.family.nft, names)
        with closing(dump):
            found = elements(declared, dump)
        first = layout.words(row.key)
        starts = (each for each in found if re.split("[-/]", each, maxsplit=1)[0] == first)
        return next(starts, first)


def _data(words: str) -> tuple[str, ...] | Verdict | None:
    if not words:
        return None
    if found := _VERDICT.fullmatch(words):
        return Verdict(VerdictKind(found[1]), found[2] or "")
    return tuple(words.split(" . "))


def _counted(fields: Attributes) -> Counted:
    chain = text(fields.get(_RULE_CHAIN))
    comment = text(userdata(fields.get(_RULE_USERDATA)).get(0))  # NFTNL_UDATA_RULE_COMMENT
    for counter in _expressions(fields.get(_EXPRESSIONS, b""), "counter"):
        return Counted(chain, comment, number(counter.get(_PACKETS)), number(counter.get(_BYTES)))
    return Counted(chain, comment)


def _expressions(listed: bytes, kind: str) -> Iterator[Attributes]:
    for _, item in each_attribute(listed):
        found = attributes(item)
        if text(found.get(_EXPRESSION_NAME)) == kind:
            yield attributes(found.get(_EXPRESSION_DATA, b""))
