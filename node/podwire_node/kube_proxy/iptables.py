"""The programs of iptables: what is in a table, and a change of it, all or nothing.

There are two iptables, and a kube-proxy may have used either, or both over the years: `legacy`
talks to the kernel's own tables of old, `nft` makes tables of nftables (`ip nat`, …). Who lists
a table of old that is not there, makes it: legacy_tables() says which are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from podwire_core.errors import PodwireError
from podwire_core.family import FAMILIES, Family

PATIENCE_S = 600.0  # 15,000 chains take iptables-nft-restore 6 s, and 36 s to make
MAX_LINE_BYTES = 64 * 1024
_LOCK_SECONDS = 5  # others hold the lock of the tables of old for a moment
_NAMES = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}


class IptablesError(PodwireError):
    """A program is missing, or refused; the text says which and why."""


class ProgramMissing(IptablesError):  # noqa: N818 - the word for it
    """It is not installed; the text says what to install."""


class Iptables(NamedTuple):
    """One of the four: a family's, of one kind ("nft" or "legacy")."""

    family: Family
    kind: str

    def __str__(self) -> str:
        return f"{self._stem} ({self.kind})"

    @property
    def _stem(self) -> str:
        return "iptables" if self.family is Family.IPV4 else "ip6tables"

    def saved(self, table: str) -> Iterator[str]:
        """The lines of a table as they come. Raises IptablesError."""
        command = [self._program("save"), "-t", table]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
        ) as process:
            timer = threading.Timer(PATIENCE_S, process.kill)
            timer.start()
            try:
                yield from _lines(process.stdout)
                complaint = process.stderr.read(MAX_LINE_BYTES) if process.stderr else b""
                _judge(command, process.wait(), complaint)
            finally:
                timer.cancel()
                process.kill()

    def restore(self, text: str) -> None:
        """Change a table, all or nothing; what is not named stays. Raises IptablesError."""
        command = [self._program("restore"), "--noflush", "-w", str(_LOCK_SECONDS)]
        try:
            done = subprocess.run(
                command,
                input=text.encode(),
                capture_output=True,
                check=False,
                timeout=PATIENCE_S,
                env=_environment(),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise IptablesError(f"{command[0]}: {error}") from error
        _judge(command, done.returncode, done.stderr)

    def _program(self, verb: str) -> str:
        """Debian's name for it, else the plain one where that is of this kind."""
        exact = shutil.which(f"{self._stem}-{self.kind}-{verb}")
        if exact:
            return exact
        plain = shutil.which(f"{self._stem}-{verb}")
        if plain and _kind_of(plain) == self.kind:
            return plain
        raise ProgramMissing(f"there is no {self._stem}-{self.kind}-{verb}: install iptables")


def legacy_tables(family: Family, root: Path = Path("/")) -> list[str]:
    """The tables of old that are there, as the kernel tells."""
    try:
        return (root / "proc/net" / _NAMES[family]).read_text().split()
    except OSError:  # the kernel has none of these, or does not tell us
        return []


def every_iptables() -> Iterator[Iptables]:
    """All four."""
    for kind in ("nft", "legacy"):
        for family in FAMILIES:
            yield Iptables(family, kind)


def _lines(stream: IO[bytes] | None) -> Iterator[str]:
    """Lines as they come; one that is longer than any rule comes in pieces, which lead nowhere."""
    while stream and (line := stream.readline(MAX_LINE_BYTES)):
        yield line.decode(errors="replace")


def _kind_of(program: str) -> str:
    done = subprocess.run(
        [program, "--version"], capture_output=True, check=False, timeout=PATIENCE_S
    )
    return "nft" if b"nf_tables" in done.stdout else "legacy"


def _environment() -> dict[str, str]:
    """Complaints in English, which is what we tell and what people search for."""
    return {"LC_ALL": "C", "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")}


def _judge(command: list[str], code: int, complaint: bytes) -> None:
    if code:
        words = " ".join(complaint.decode(errors="replace").split())[:500]
        name = Path(command[0]).name
        raise IptablesError(f"{name} ended with {code}: {words or 'it gave no reason'}")
