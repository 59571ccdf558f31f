"""A real API server for tests: etcd and kube-apiserver in a namespace of their own.

The programs come from KUBERNETES_BIN, else from where `make kubernetes` puts them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import scratch
from scratch import Netns

ADDRESS = "192.168.90.1"
TOKEN = "admin-token"
_MAKEFILE = Path(__file__).parents[2] / "Makefile"


def programs() -> Path:
    """The folder of Kubernetes' programs; skips the test, saying what would make it run."""
    version = re.search(r"^KUBERNETES := (\S+)$", _MAKEFILE.read_text(), re.MULTILINE)
    assert version is not None
    default = Path.home() / ".cache/podwire/kubernetes" / f"v{version.group(1)}"
    folder = Path(os.environ.get("KUBERNETES_BIN", default))
    if not (folder / "kube-apiserver").exists():
        lack = f"there is no kube-apiserver in {folder}: `make kubernetes` builds one where Go is"
        if os.environ.get("CI") and shutil.which("go"):
            pytest.fail(lack)  # there it could have been built, so a skip would rot
        pytest.skip(lack)
    return folder


@dataclass
class ControlPlane:
    """etcd and an API server; both can be killed and started again."""

    netns: Netns
    folder: Path
    programs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def start(self) -> None:
        self._write_files()
        self.start_etcd()
        self.start_api_server()

    def start_etcd(self) -> None:
        client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
        self._spawn(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            "--unsafe-no-fsync",
        )

    def start_api_server(self) -> None:
        self._spawn(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--cert-dir={self.folder / 'certificates'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={self.folder / 'sa.key'}",
            f"--service-account-signing-key-file={self.folder / 'sa.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            f"--advertise-address={ADDRESS}",
            "--disable-admission-plugins=ServiceAccount",
        )
        scratch.until("the API server is ready", self.ready, seconds=60)

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def ready(self) -> bool:
        with suppress(OSError):
            return self.request("GET", "/readyz", raw=True) == b"ok"
        return False

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        """One request to the API, as an administrator."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:6443{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request.add_header("Content-Type", kind)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with self.netns.inside(), opener.open(request, timeout=10) as answer:
            text = answer.read()
        return text if raw else json.loads(text)

    def _spawn(self, name: str, *arguments: str) -> None:
        enter = ("nsenter", f"--net=/run/netns/{self.netns.name}")
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*enter, str(self.programs / name), *arguments],
                stdout=log,
                stderr=log,
            )

    def _write_files(self) -> None:
        key = ["openssl", "genrsa", "-out", str(self.folder / "sa.key"), "2048"]
        subprocess.run(key, check=True, capture_output=True)
        (self.folder / "tokens.csv").write_text(f'{TOKEN},admin,1,"system:masters"\n')
        cluster = {"server": "https://127.0.0.1:6443", "insecure-skip-tls-verify": True}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        }
        self.kubeconfig.write_text(json.dumps(config))


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """A control plane that is gone afterwards."""
    found = programs()
    netns = scratch.make()
    made = ControlPlane(netns, folder, found)
    try:
        netns.run("ip", "link", "add", "net0", "type", "bridge")
        netns.run("ip", "address", "add", f"{ADDRESS}/24", "dev", "net0")
        netns.run("ip", "link", "set", "net0", "up")
        made.start()
        yield made
    finally:
        for name in list(made.processes):
            made.stop(name)
        scratch.remove(netns)
