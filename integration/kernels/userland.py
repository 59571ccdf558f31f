"""The guests' Debian: what podwire stands on, and no more, as one read-only disk.

The virtual environment of this machine goes into the guests as it is (project_disk.py), so the
userland is the Debian that has this machine's Python.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cache
from archive import KEYRING, MIRROR
from kernel_image import squash

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
#: As the Makefile's PACKAGES, without compilers for C; kmod, because modules are loaded on demand.
PACKAGES = (
    "python3",
    "python3-nftables",
    "python3-bpfcc",
    "linux-libc-dev",
    "nftables",
    "iproute2",
    "iptables",
    "ipset",
    "procps",
    "iputils-ping",
    "curl",
    "kmod",
)


class UserlandError(Exception):
    """No userland can be made; the text says why."""


@dataclass(frozen=True)
class Userland:
    """folder: root.squashfs; packages, a line each."""

    folder: Path
    suite: str

    @property
    def image(self) -> Path:
        return self.folder / "root.squashfs"

    def version(self, package: str) -> str:
        """What is installed of a package: 1.0.6-2+deb12u2."""
        lines = (self.folder / "packages").read_text().splitlines()
        return dict(line.split(" ", 1) for line in lines)[package]


def userland() -> Userland:
    """Today's userland, made if it is not in the cache. Raises UserlandError."""
    suite = SUITES.get(sys.version_info[:2])
    if suite is None:
        known = " or ".join(f"{major}.{minor}" for major, minor in SUITES)
        raise UserlandError(
            f"no Debian of the guests has Python {sys.version_info[0]}.{sys.version_info[1]}: "
            f"make the environment with Python {known}"
        )
    recipe = f"{suite} {PACKAGES} {Path(__file__).read_text()}"
    return Userland(
        cache.folder(f"userland-{suite}", recipe, lambda into: _make(suite, into)), suite
    )


def _make(suite: str, into: Path) -> None:
    root = into.parent / "root"
    sources = "".join(
        f"deb [signed-by={KEYRING}] {MIRROR}/{each} main\n"
        for each in (f"debian {suite}", f"debian-security {suite}-security")
    )
    # What it mounts in the tree, and every process of it, goes with it, however it ends.
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*alone, "mmdebstrap", "--quiet", "--variant=minbase", "--architectures=amd64"]
    command += ["--include", ",".join(PACKAGES), "--dpkgopt=path-exclude=/usr/share/doc/*"]
    command += [
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ]
    done = subprocess.run(
        [*command, suite, root, "-"],
        input=sources,
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    if done.returncode:
        raise UserlandError(f"mmdebstrap: {done.stderr.strip()[-2000:]}")
    asked = [
        "dpkg-query",
        f"--admindir={root}/var/lib/dpkg",
        "-W",
        "-f",
        "${Package} ${Version}\\n",
    ]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True)
    (into / "packages").write_text(listed.stdout)
    # By its own Python, so that no guest compiles a module under emulation again.
    subprocess.run(
        ["chroot", root, "/usr/bin/python3", "-m", "compileall", "-q", "/usr/lib/python3"],
        check=False,
        stdout=subprocess.DEVNULL,
    )
    squash(root, into / "root.squashfs")
