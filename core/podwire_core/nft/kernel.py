"""libnftables: the one place where nft text meets the kernel.

Text goes in (the library parses it far faster than JSON), JSON comes out. The library talks
to the network namespace of the thread that calls it. Python's binding is Debian's
python3-nftables; it is imported when a Kernel is made, so everything pure works without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from podwire_core.errors import NftError, NftUnavailable
from podwire_core.nft.listing import state_of
from podwire_core.nft.objects import State, Table
from podwire_core.nft.transaction import Transaction


class Nft(Protocol):
    """What the kernel and the fake both do."""

    def commit(self, transaction: Transaction) -> None:
        """Put all of it in force, or raise NftError and leave everything as it was."""
        ...

    def read(self, tables: Iterable[Table]) -> State:
        """What is in force in these tables; a table that is not there contributes nothing."""
        ...


class Kernel:
    """The kernel's nf_tables through libnftables."""

    def __init__(self) -> None:
        self._writer = _library(json=False)
        self._reader = _library(json=True)

    def commit(self, transaction: Transaction) -> None:
        """See Nft.commit."""
        code, _, error = self._writer.cmd(transaction.text)
        if code:
            raise NftError(_first_complaint(error))

    def read(self, tables: Iterable[Table]) -> State:
        """See Nft.read."""
        state: State = {}
        for table in tables:
            code, output, error = self._reader.cmd(f"list table {table.text}")
            if code == 0:
                state.update(state_of(msgspec.json.decode(output)["nftables"]))
            elif "No such file or directory" not in error:
                raise NftError(_first_complaint(error))
        return state


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
