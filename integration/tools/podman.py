"""podman with storage of the test's own and the CNI backend, which version 5 no longer has."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import busybox_image
import pytest
from private_machine import BIN_DIR, CONF_DIR, Machine

_CONFIG = f"""
[network]
network_backend = "cni"
network_config_dir = "{CONF_DIR}"
cni_plugin_dirs = ["{BIN_DIR}", "/usr/lib/cni"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[containers]
log_driver = "k8s-file"
"""


@dataclass(frozen=True)
class Podman:
    """podman on a machine; it has no daemon."""

    machine: Machine
    folder: Path

    def call(self, *words: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Whatever it answers."""
        settings = f"CONTAINERS_CONF={self.folder}/containers.conf"
        program = ["env", settings, "podman", "--storage-driver", "vfs"]
        places = ["--root", "/var/lib/podwire-podman", "--runroot", "/run/podwire-podman"]
        return self.machine.run(*program, *places, *words, seconds=seconds)

    def run(self, name: str, *options: str, command: Sequence[str]) -> None:
        """`podman run --detach`."""
        words = ["run", "--detach", "--name", name, f"--cgroup-parent=/{self.machine.name}"]
        self(*words, *options, busybox_image.NAME, *command)

    def __call__(self, *words: str) -> str:
        """What it says, which must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, f"podman {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


@contextmanager
def podman(machine: Machine, folder: Path, archive: Path) -> Iterator[Podman]:
    """podman with an image in it. Skips where its version has no CNI."""
    folder.mkdir(exist_ok=True)
    (folder / "containers.conf").write_text(_CONFIG)
    made = Podman(machine, folder)
    backend = made.call("info", "--format", "{{.Host.NetworkBackend}}")
    if backend.stdout.strip() != "cni":
        pytest.skip(f"this podman has no CNI backend, version 4 has: {backend.stderr.strip()}")
    made("load", "--quiet", "--input", str(archive))
    try:
        yield made
    finally:
        made("rm", "--all", "--force", "--time", "0")
