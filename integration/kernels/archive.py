"""Debian's archive through an apt of our own: this machine's sources and packages stay as they are.

```
 folder/apt.conf      names everything below, so that apt reads and writes nothing else
 folder/sources.list  the suites of every kernel and userland, one index
 folder/lists         what `apt-get update` fetched, kept for a day
```
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MIRROR = "http://deb.debian.org"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Old suites' signatures stay good when their dates have passed.
_SOURCE = f"deb [check-valid-until=no signed-by={KEYRING}] {MIRROR}"
SUITES = (
    "debian bullseye",
    "debian-security bullseye-security",
    "debian bookworm",
    "debian-security bookworm-security",
    "debian bookworm-backports",
    "debian trixie",
    "debian-security trixie-security",
    "debian trixie-backports",
)
_DAY = 86_400
_CONF = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
Dir::State "{folder}/state";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
APT::Sandbox::User "root";
Acquire::Languages "none";
"""
_IMAGE = re.compile(r"linux-image-(\d+\.\d+)\.\d\S*-cloud-amd64")
#: What newer linux-image packages are made of; all else they depend on makes them bootable.
_PART = re.compile(r"\b(linux-(?:binary|modules|base)-\d\S+-cloud-amd64)\b")


class ArchiveError(Exception):
    """apt did not do what it should; the text is its own."""


@dataclass(frozen=True)
class Archive:
    """folder: where apt keeps everything."""

    folder: Path

    def refresh(self) -> None:
        """Fetch the index, unless today's is there. Raises ArchiveError."""
        stamp = self.folder / "refreshed"
        if stamp.exists() and time.time() - stamp.stat().st_mtime < _DAY:
            return
        for each in ("lists/partial", "cache/archives/partial", "state"):
            (self.folder / each).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "apt.conf").write_text(_CONF.format(folder=self.folder))
        lines = [f"{_SOURCE}/{each} main\n" for each in SUITES]
        (self.folder / "sources.list").write_text("".join(lines))
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # apt does not wait for another run's update
            self._apt("apt-get", "update", "-qq", "--error-on=any")
        stamp.touch()

    @property
    def refreshed(self) -> bool:
        """Whether an index is there, of whatever day."""
        return (self.folder / "refreshed").exists()

    def kernels(self) -> dict[str, str]:
        """The newest cloud kernel of each version: {"6.1": "linux-image-6.1.0-56-cloud-amd64"}."""
        found: dict[str, str] = {}
        names = self._apt("apt-cache", "pkgnames", "linux-image-").split()
        for name in sorted(names, key=numbers):
            if match := _IMAGE.fullmatch(name):
                found[match[1]] = name
        return found

    def parts(self, image: str) -> tuple[str, ...]:
        """The packages that hold a kernel's files: itself, and what newer ones are split into."""
        about = self._apt("apt-cache", "show", "--no-all-versions", image)
        depends = re.search(r"^Depends: (.*)$", about, re.MULTILINE)
        named = _PART.findall(depends[1] if depends else "")
        there = set(self._apt("apt-cache", "pkgnames", "linux-").split())
        return (image, *(each for each in named if each in there))

    def unpack(self, packages: Sequence[str], into: Path) -> None:
        """Download packages and unpack their files, without installing anything."""
        debs = into.parent / "debs"
        debs.mkdir()
        self._apt("apt-get", "download", "-qq", *packages, cwd=debs)
        for each in debs.iterdir():
            subprocess.run(["dpkg-deb", "-x", each, into], check=True)

    def _apt(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            ["env", f"APT_CONFIG={self.folder}/apt.conf", *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            timeout=900,
        )
        if done.returncode:
            raise ArchiveError(f"`{' '.join(command)}`: {done.stderr.strip()}")
        return done.stdout


def numbers(version: str) -> tuple[int, ...]:
    """What a version is sorted by: 6.1.0-56 comes after 6.1.0-0.deb11.52."""
    return tuple(map(int, re.findall(r"\d+", version)))
