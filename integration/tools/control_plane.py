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
    options: tuple[str, ...] = ()  # of kube-apiserver, beside ours
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
            *self.options,
        )
        scratch.until("the API server is ready", self.ready, seconds=180)

    def stop(self, name: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def ready(self) -> bool:
        with suppress(OSError):
            return self.request("GET", "/readyz", raw=True) == b"ok"
        return False

    def request(
        self, method: str, path: str, body: Any = None, *, raw: bool = False, token: str = TOKEN
    ) -> Any:
        """One request to the API; without a token as an administrator."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://127.0.0.1:6443{path}", data, method=method)
        request.add_header("Authorization", f"Bearer {token}")
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
        self.write_kubeconfig(self.kubeconfig, {"token": TOKEN})

    def write_kubeconfig(
        self, path: Path, user: dict[str, str], server: str = "https://127.0.0.1:6443"
    ) -> Path:
        """A kubeconfig of one user ({"token": …} or {"tokenFile": …}), whole at once."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "test", "cluster": {"server": server, "insecure-skip-tls-verify": True}}
            ],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
        hidden = path.with_name(f".{path.name}.new")
        hidden.write_text(json.dumps(config))
        return hidden.rename(path)

    def account(self, name: str, rules: list[dict[str, Any]]) -> str:
        """Make a ServiceAccount that may do just this, cluster-wide; its token."""
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        accounts = "/api/v1/namespaces/default/serviceaccounts"
        self.request("POST", accounts, {"metadata": {"name": name}})
        self.request("POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules})
        group = {"apiGroup": "rbac.authorization.k8s.io"}
        binding = {
            "metadata": {"name": name},
            "roleRef": {**group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
        }
        self.request("POST", f"{rbac}/clusterrolebindings", binding)
        return self.token(name)

    def token(self, name: str, seconds: int = 3600) -> str:
        """A fresh token of a ServiceAccount in the default namespace."""
        path = f"/api/v1/namespaces/default/serviceaccounts/{name}/token"
        answer = self.request("POST", path, {"spec": {"expirationSeconds": seconds}})
        return str(answer["status"]["token"])


@contextmanager
def control_plane(folder: Path, *options: str) -> Iterator[ControlPlane]:
    """A control plane that is gone afterwards. options: of kube-apiserver, beside ours."""
    found = programs()
    netns = scratch.make()
    made = ControlPlane(netns, folder, found, options)
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
