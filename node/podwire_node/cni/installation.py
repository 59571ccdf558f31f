"""What `podwire install` puts in place, in this order, and what became of each.

client      always first: a conflist that names a program that is not there fails every pod
conflist    when podCIDRs are known, and the agent says that it can serve ADD
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from podwire_node.cni.conflist import NETWORK, SERVED_PLUGIN, conflist
from podwire_node.cni.install import (
    CLIENT,
    CONFLIST,
    ClientMissing,
    client_differs,
    conflist_differs,
    install_client,
    install_conflist,
    rivals,
)
from podwire_node.cni.serving_agent import refusal

if TYPE_CHECKING:
    from rich.table import Table

_MAX_CONFLIST = 64 * 1024


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

    pod_cidrs: empty, those that a conflist of ours names already are kept.  mtu: bytes, 0 leaves
    it to the plugin.  patience: seconds that the agent has until it must serve ADD.
    """

    bin_dir: Path
    conf_dir: Path
    socket: Path
    state_dir: Path
    plugin: str = SERVED_PLUGIN
    pod_cidrs: Sequence[str] = ()
    mtu: int = 0
    patience: float = 0.0
    dry_run: bool = False

    def rows(self) -> Iterator[Row]:
        """Put in place what differs; a row a file."""
        client = self._client() if self.plugin == SERVED_PLUGIN else None
        if client is not None:
            yield client
        yield self._conflist(client)
        yield from self._rivals()

    def _client(self) -> Row:
        return self._put(
            ("client", self.bin_dir / CLIENT),
            lambda: client_differs(self.bin_dir),
            lambda: install_client(self.bin_dir),
        )

    def _conflist(self, client: Row | None) -> Row:
        path = self.conf_dir / CONFLIST
        cidrs = self.pod_cidrs or _ranges(path)
        if not cidrs:
            why = "podCIDRs are not known: give --pod-cidrs, or let the agent write it"
            return Row("conflist", path, Outcome.LEFT, why)
        try:
            content = conflist(cidrs, self.mtu, self.plugin, self.socket, self.state_dir)
        except ValueError as error:
            return Row("conflist", path, Outcome.FAILED, str(error))
        if client is not None and client.outcome is Outcome.FAILED:
            return Row("conflist", path, Outcome.LEFT, "the client that it names is not there")
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

    table = Table("What", "File", "Outcome", "Why")
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


class _Plugin(msgspec.Struct):
    ranges: tuple[str, ...] = ()


class _Written(msgspec.Struct):
    name: str = ""
    plugins: tuple[_Plugin, ...] = ()


def _ranges(path: Path) -> Sequence[str]:
    """The podCIDRs that a conflist of ours names; none where there is none."""
    try:
        if path.stat().st_size > _MAX_CONFLIST:
            return ()
        written = msgspec.json.decode(path.read_bytes(), type=_Written)
    except (OSError, msgspec.DecodeError):
        return ()
    ours = written.name == NETWORK and written.plugins
    return written.plugins[0].ranges if ours else ()


def _call(content: bytes) -> bytes:
    """The conflist as a runtime hands it to its one plugin; STATUS is there since 1.1.0."""
    document = msgspec.json.decode(content)
    entry = document["plugins"][0]
    return msgspec.json.encode({"cniVersion": "1.1.0", "name": document["name"], **entry})
