"""A machine for a container runtime: files, processes and mounts of its own, a node's network.

```
 test ── pipe ──► process 1 of a new PID namespace, in a new mount namespace
                    /etc, /opt, /var/lib   overlays: what is written is in memory
                    /run                   empty, but for the test's namespaces in /run/netns
                    /etc/cni/net.d, /opt/cni/bin   the folders of a Node
```

Whatever becomes of the test, the pipe ends; then process 1 ends, and with it the kernel ends
every process and every mount in there. Control groups alone are everybody's: runtimes are told
to put theirs into one that carries the machine's name, and `sweep` removes it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from scratch import Netns

#: A runtime's own folders of configurations and of plugins.
CONF_DIR, BIN_DIR = Path("/etc/cni/net.d"), Path("/opt/cni/bin")
_CGROUPS = Path("/sys/fs/cgroup")

# $1: an empty folder, $2 and $3: what becomes CONF_DIR and BIN_DIR. Namespaces that the test
# makes later arrive too, for mounts propagate from outside, and none to there.
_BOOT = """
set -e
mount -t tmpfs tmpfs "$1"
for each in etc opt var/lib; do
    mkdir -p "$1/$each/upper" "$1/$each/work"
    mount -t overlay overlay -o "lowerdir=/$each,upperdir=$1/$each/upper,workdir=$1/$each/work" \
        "/$each"
done
mkdir "$1/netns"
mount --rbind /run/netns "$1/netns"
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock /etc/cni/net.d /opt/cni/bin
mount --rbind "$1/netns" /run/netns
mount --bind "$2" /etc/cni/net.d
mount --bind "$3" /opt/cni/bin
echo up
read -r _
"""


@dataclass(frozen=True)
class Machine:
    """A running machine. first: its process 1, by the test's count."""

    name: str
    first: int

    def enter(self, *command: str) -> list[str]:
        """The command that runs one inside."""
        inside = ["nsenter", f"--target={self.first}", "--mount", "--pid", "--net"]
        return [*inside, *command]

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """A command inside, whatever it answers."""
        return subprocess.run(
            self.enter(*command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def output(self, *command: str) -> str:
        """The stdout of a command that must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


@contextmanager
def machine(node: Netns, folder: Path, conf_dir: Path, bin_dir: Path) -> Iterator[Machine]:
    """A machine in the node's network. folder: is made, and empty again afterwards."""
    for each in (folder, conf_dir, bin_dir):
        each.mkdir(parents=True, exist_ok=True)
    command = ["unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--mount-proc"]
    command += ["--kill-child", "bash", "-c", _BOOT, "boot", *map(str, (folder, conf_dir, bin_dir))]
    process = node.popen(*command)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "up\n":
            pytest.fail(f"cannot make a private machine: {process.communicate()[1]}")
        yield Machine(node.name, child(process.pid))
    finally:
        process.communicate()  # ends its stdin
        sweep(node.name)


def child(parent: int) -> int:
    """The only child of unshare or nsenter, which wait while it works; both by our count."""
    (found,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(found)


def sweep(name: str) -> None:
    """Remove the control groups of a machine, deepest first. All are empty: it has ended."""
    for folder in [*_CGROUPS.glob(f"{name}*"), *_CGROUPS.glob(f"*/{name}*")]:
        for each in [*sorted(folder.rglob("*/"), reverse=True), folder]:
            with contextlib.suppress(FileNotFoundError):
                each.rmdir()


def needs(*programs: str) -> None:
    """Skip where a runtime is missing; fail where `make runtimes` should have brought it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        lack = f"needs {', '.join(missing)}: `make runtimes` installs what Debian has of it"
        if os.environ.get("CI"):
            pytest.fail(lack)
        pytest.skip(lack)
