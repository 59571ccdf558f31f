"""cnitool: the reference's own runtime library, without a container."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import control_plane
from private_machine import BIN_DIR, CONF_DIR, Machine
from scratch import Netns


@dataclass(frozen=True)
class CniTool:
    """cnitool on a machine: its cache of results is in the machine's own /var/lib."""

    machine: Machine
    network: str

    def call(
        self, verb: str, pod: Netns, capabilities: Mapping[str, object] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Whatever it answers. capabilities: what becomes runtimeConfig."""
        tool = control_plane.programs() / "cnitool"
        environ = [f"NETCONFPATH={CONF_DIR}", f"CNI_PATH={BIN_DIR}:/usr/lib/cni"]
        if capabilities:
            environ.append(f"CAP_ARGS={json.dumps(capabilities)}")
        path = f"/run/netns/{pod.name}"
        return self.machine.run("env", *environ, str(tool), verb, self.network, path)

    def cached(self) -> list[str]:
        """The results it remembers."""
        folder = Path("/var/lib/cni/results")
        return self.machine.run("ls", str(folder)).stdout.split()
