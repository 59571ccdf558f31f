"""The kernel's nf_tables: nft text goes in through libnftables, netlink tells what is in force.

The library parses text far faster than JSON. Python's binding is Debian's python3-nftables; it
is imported when a Kernel is made, so everything pure works without it. All of a Kernel talks to
the network namespace of the thread that made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from podwire_core.errors import NftError, NftUnavailable
from podwire_core.nft.datatypes import Unreadable
from podwire_core.nft.ledger import Ledger
from podwire_core.nft.listing import state_of
from podwire_core.nft.objects import Key, State, Table
from podwire_core.nft.reader import Reader
from podwire_core.nft.transaction import Transaction
from podwire_core.nft.writer import Writer


class Nft(Protocol):
    """What the kernel and the fake both do."""

    def commit(self, transaction: Transaction) -> None:
        """Put all of it in force, or raise NftError and leave everything as it was."""
        ...

    def read(self, tables: Iterable[Table]) -> Mapping[Key, str]:
        """What is in force in these tables; a table that is not there contributes nothing.

        Entries of dynamic sets are no part of it.
        """
        ...

    def entries(self, table: Table, name: str) -> Mapping[str, str]:
        """Key text → data text of a dynamic set now; nothing of one that is not there."""
        ...


class Kernel:
    """Writes through libnftables, reads by netlink (reader.py)."""

    def __init__(self) -> None:
        self._writer = _library(json=False)
        self._elements = Writer()
        self._lister = _library(json=True)
        self._reader = Reader(self.listed)

    def commit(self, transaction: Transaction) -> None:
        """See Nft.commit."""
        if self._elements.takes(transaction):
            with suppress(Unreadable):
                self._elements.commit(transaction)
                return
        code, _, error = self._writer.cmd(transaction.text)
        self._elements.notice(transaction)
        if code:
            raise NftError(_first_complaint(error))

    def read(self, tables: Iterable[Table]) -> Ledger:
        """See Nft.read."""
        self._elements.forget()
        return self._reader.read(tables)

    def entries(self, table: Table, name: str) -> Mapping[str, str]:
        """See Nft.entries."""
        return self._reader.entries(table, name)

    def listed(self, what: str) -> State:
        """What libnftables lists of a thing (`table ip podwire-proxy`); nothing if it is not there.

        Of a set with 100,000 elements it makes hundreds of megabytes.
        """
        code, output, error = self._lister.cmd(f"list {what}")
        if code == 0:
            return state_of(msgspec.json.decode(output)["nftables"])
        if "No such file or directory" in error:
            return {}
        raise NftError(_first_complaint(error))


def _library(*, json: bool) -> Any:
    try:
        import nftables  # noqa: PLC0415 - see the module's docstring
    except ImportError as error:
        raise NftUnavailable(
            "Python's nftables binding is missing: apt-get install python3-nftables, and make "
            "the virtual environment with --system-site-packages"
        ) from error
    library = nftables.Nftables()
    library.set_json_output(json)
    return library


def _first_complaint(error: str) -> str:
    """libnftables' message without the echo of a transaction that may be megabytes long."""
    lines = [line for line in error.splitlines() if "rror:" in line]
    text = " ".join((lines or error.splitlines() or ["no reason given"])[0].split())
    return text if len(text) <= 500 else f"{text[:500]}…"
