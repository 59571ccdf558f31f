"""crictl: asks containerd for pods, by the interface and with the words that kubelet uses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from containerd import SOCKET, Containerd

_MAKEFILE = Path(__file__).parents[2] / "Makefile"


def program() -> Path:
    """The built crictl; skips the test, saying what would make it run."""
    version = re.search(r"^CRICTL := (\S+)$", _MAKEFILE.read_text(), re.MULTILINE)
    assert version is not None
    default = Path.home() / ".cache/podwire/crictl" / f"v{version.group(1)}"
    found = Path(os.environ.get("CRICTL_BIN", default)) / "crictl"
    if not found.exists():
        lack = f"there is no {found}: `make crictl` builds it where Go is"
        if os.environ.get("CI") and shutil.which("go"):
            pytest.fail(lack)  # there it could have been built, so a skip would rot
        pytest.skip(lack)
    return found


@dataclass(frozen=True)
class CriCtl:
    """crictl on a containerd's machine."""

    daemon: Containerd
    program: Path

    def command(self, *words: str) -> list[str]:
        """The command that runs it there."""
        endpoint = ["--runtime-endpoint", f"unix://{SOCKET}", "--timeout", "60s"]
        return self.daemon.machine.enter(str(self.program), *endpoint, *words)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Whatever it answers."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def __call__(self, *words: str) -> str:
        """What it says, which must succeed."""
        done = self.call(*words)
        assert done.returncode == 0, f"crictl {words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def pod(
        self, name: str, host_port: int = 0, annotations: Mapping[str, str] | None = None
    ) -> Path:
        """The file that asks for a pod shop/NAME."""
        ports = [{"protocol": 0, "container_port": 8080, "host_port": host_port}]
        document = {
            "metadata": {"name": name, "namespace": "shop", "uid": str(uuid.uuid4())},
            "annotations": dict(annotations or {}),
            "port_mappings": ports if host_port else [],
            "linux": {"cgroup_parent": f"/{self.daemon.machine.name}"},
        }
        path = self.daemon.folder / f"{name}.json"
        path.write_text(json.dumps(document))
        return path

    def addresses(self, pod_id: str) -> list[str]:
        """What containerd would tell kubelet."""
        status: dict[str, Any] = json.loads(self("inspectp", pod_id))["status"]["network"]
        return [status["ip"], *[each["ip"] for each in status.get("additionalIps") or []]]

    def process(self, pod_id: str) -> str:
        """The sandbox's process id, by the machine's count."""
        return str(json.loads(self("inspectp", pod_id))["info"]["pid"])

    def is_ready(self, pod_id: str) -> bool:
        """Whether containerd believes that the sandbox runs."""
        return str(json.loads(self("inspectp", pod_id))["status"]["state"]) == "SANDBOX_READY"

    def network_is_ready(self) -> bool:
        """Whether kubelet would be told that pods can have networks."""
        rows = json.loads(self("info"))["status"]["conditions"]
        return {"NetworkReady": True} in [{row["type"]: row["status"]} for row in rows]
