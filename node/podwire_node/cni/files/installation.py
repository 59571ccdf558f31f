"""What `podwire install` puts in place, in this order, and what became of each.

program     always first: a conflist that names a program that is not there fails every pod.
            The client is put there; podwire-cni, which is bound to its Python, has to be there
conflist    when podCIDRs are known, and the agent says that it can serve ADD
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from podwire_node.cni.files.conflist import SERVED_PLUGIN, conflist
from podwire_node.cni.files.install import (
    CLIENT,
    CONFLIST,
    ClientMissing,
    client_differs,
    conflist_differs,
    install_client,
    install_conflist,
    installed_entry,
    rivals,
)
from podwire_node.cni.files.serving_agent import refusal

if TYPE_CHECKING:
    from rich.table import Table


class Outcome(StrEnum):
    """What became of a file."""

    INSTALLED = "installed"
    UNCHANGED = "unchanged"
    WOULD_BE = "would be installed"
    LEFT = "left"  # why says for what reason
    FAILED = "failed"


_STYLE = {Outcome.FAILED: "red", Outcome.LEFT: "yellow", Outcome.WOULD_BE: "cyan"}


@dataclass(frozen=True)
class Row:
    """One file. what: a word for it."""

    what: str
    path: Path
    outcome: Outcome
    why: str = ""


@dataclass(frozen=True)
class Installation:
    """Where, and what for.

    pod_cidrs, mtu: empty and None keep what a conflist of ours says already, which an agent may
    have written.  mtu: bytes, 0 leaves it to the plugin.  patience: seconds that the agent has
    until it must serve ADD.
    """

    bin_dir: Path
    conf_dir: Path
    socket: Path
    state_dir: Path
    plugin: str = SERVED_PLUGIN
    pod_cidrs: Sequence[str] = ()
    mtu: int | None = None
    patience: float = 0.0
    dry_run: bool = False

    def rows(self) -> Iterator[Row]:
        """Put in place what differs; a row a file."""
        program = self._client() if self.plugin == SERVED_PLUGIN else self._program()
        yield program
        yield self._conflist(program)
        yield from self._rivals()

    def _client(self) -> Row:
        return self._put(
            ("client", self.bin_dir / CLIENT),
            lambda: client_differs(self.bin_dir),
            lambda: install_client(self.bin_dir),
        )

    def _program(self) -> Row:
        path = self.bin_dir / self.plugin
        if path.is_file() and os.access(path, os.X_OK):
            return Row("plugin", path, Outcome.UNCHANGED)
        ours = Path(sys.executable).with_name(self.plugin)
        why = f"runtimes find no such program: ln -s {shlex.quote(str(ours))} {self.bin_dir}/"
        return Row("plugin", path, Outcome.FAILED, why)

    def _conflist(self, program: Row) -> Row:
        path = self.conf_dir / CONFLIST
        there = installed_entry(self.conf_dir)
        cidrs = self.pod_cidrs or there.ranges
        mtu = there.mtu if self.mtu is None else self.mtu
        if not cidrs:
            why = "podCIDRs are not known: give --pod-cidrs, or let the agent write it"
            return Row("conflist", path, Outcome.FAILED, why)
        try:
            content = conflist(cidrs, mtu, self.plugin, self.socket, self.state_dir)
        except ValueError as error:
            return Row("conflist", path, Outcome.FAILED, str(error))
        if program.outcome is Outcome.FAILED:
            return Row("conflist", path, Outcome.LEFT, "the program that it names is not there")
        why = self._waits_for(path, content)
        if why and not self.dry_run:
            return Row("conflist", path, Outcome.FAILED, why)
        row = self._put(
            ("conflist", path),
            lambda: conflist_differs(self.conf_dir, content),
            lambda: install_conflist(self.conf_dir, content),
        )
        return replace(row, why=row.why or why)

    def _waits_for(self, path: Path, content: bytes) -> str:
        """Why runtimes cannot be told of us yet; "" when they can, or have been already."""
        with suppress(OSError):  # which _put tells
            if self.plugin != SERVED_PLUGIN or not conflist_differs(path.parent, content):
                return ""
        reason = refusal(self.socket, _call(content), 0 if self.dry_run else self.patience)
        return f"{self.socket}: {reason}: start the agent, or give --wait SECONDS" if reason else ""

    def _put(
        self, name: tuple[str, Path], differs: Callable[[], bool], install: Callable[[], bool]
    ) -> Row:
        try:
            if not differs():
                return Row(*name, Outcome.UNCHANGED)
            if self.dry_run:
                return Row(*name, Outcome.WOULD_BE)
            install()
        except ClientMissing as error:
            return Row(*name, Outcome.FAILED, str(error))
        except OSError as error:
            return Row(*name, Outcome.FAILED, error.strerror or str(error))
        return Row(*name, Outcome.INSTALLED)

    def _rivals(self) -> Iterator[Row]:
        try:
            names = rivals(self.conf_dir)
        except OSError:
            return  # the conflist's row has told of it
        why = f"runtimes use the first file alone, and it comes before {CONFLIST}: move it away"
        for name in names:
            yield Row("other network", self.conf_dir / name, Outcome.LEFT, why)


def rows_table(rows: Sequence[Row]) -> Table:
    """A row a file."""
    from rich.table import Table  # noqa: PLC0415 - the agent draws no tables
    from rich.text import Text  # noqa: PLC0415 - same

    table = Table("What")
    for name in ("File", "Outcome", "Why"):
        table.add_column(name, overflow="fold")  # a path that is cut cannot be looked at
    for row in rows:
        outcome = Text(row.outcome, _STYLE.get(row.outcome, "green"))
        table.add_row(row.what, Text(str(row.path)), outcome, Text(row.why))
    return table


def rows_json(rows: Sequence[Row], *, dry_run: bool) -> str:
    """{"dryRun": …, "rows": [{"what": …, "file": …, "outcome": …, "why": …}]}."""
    shown = [
        {"what": row.what, "file": str(row.path), "outcome": row.outcome, "why": row.why}
        for row in rows
    ]
    document = {"dryRun": dry_run, "rows": shown}
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _call(content: bytes) -> bytes:
    """The conflist as a runtime hands it to its one plugin; STATUS is there since 1.1.0."""
    document = msgspec.json.decode(content)
    entry = document["plugins"][0]
    return msgspec.json.encode({"cniVersion": "1.1.0", "name": document["name"], **entry})
