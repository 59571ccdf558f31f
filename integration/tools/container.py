"""A DaemonSet's container run by runc, as kubelet would have its runtime run it.

What the pod asks for is all it gets: capabilities, seccomp profile, read-only root, mounts, and
a runtime's read-only /proc/sys. Its node is a network namespace and a folder for host paths.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch import Netns

#: Debian's golang-github-containers-common, which buildah brings: docker's and podman's default.
SECCOMP = Path("/usr/share/containers/seccomp.json")
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

# What containerd gives every container that is not privileged (oci.WithDefaultSpec).
_MOUNTS = (
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "ro"]},
)
_READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_PROPAGATIONS = {"None": "rprivate", "HostToContainer": "rslave"}
_MASKED = ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"]


@dataclass(frozen=True)
class Node:
    """Where a pod runs. host: stands for the root of the host's files, for hostPath."""

    name: str
    netns: Netns
    host: Path
    environ: Mapping[str, str]


@dataclass
class Container:
    """A running container."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def run(self, *command: str) -> int:
        """A command inside, as a probe is run; its exit code."""
        exec_ = ["runc", "exec", self.name, *command]
        return subprocess.run(exec_, check=False, capture_output=True).returncode


@contextmanager
def running(
    rootfs: Path, image: Mapping[str, Any], objects: Mapping[str, Any], node: Node, folder: Path
) -> Iterator[Container]:
    """The DaemonSet's container, gone afterwards.

    image: the image's configuration (Env, Entrypoint).  objects: DaemonSet and ConfigMap.
    folder: becomes the bundle; a file `account` of it is the token, `ca.crt` the server's.
    """
    folder.mkdir(exist_ok=True)
    spec = objects["DaemonSet"]["spec"]["template"]["spec"]
    bundle = _bundle(spec, image, rootfs, node)
    bundle["mounts"] += _volumes(spec, objects["ConfigMap"], node, folder)
    (folder / "config.json").write_text(json.dumps(bundle))
    name, log = f"{node.netns.name}-{folder.name}", folder / "log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            ["runc", "run", "--bundle", str(folder), name], stdout=file, stderr=file
        )
    try:
        yield Container(name, process, log)
    finally:
        subprocess.run(["runc", "kill", name, "TERM"], check=False, capture_output=True)
        try:
            process.wait(spec["terminationGracePeriodSeconds"])
        finally:
            subprocess.run(["runc", "delete", "--force", name], check=False, capture_output=True)


def _bundle(
    spec: Mapping[str, Any], image: Mapping[str, Any], rootfs: Path, node: Node
) -> dict[str, Any]:
    container, common = spec["containers"][0], spec["securityContext"]
    security = container["securityContext"]
    assert spec["hostNetwork"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert common["seccompProfile"] == {"type": "RuntimeDefault"}
    capabilities = [f"CAP_{each}" for each in security["capabilities"]["add"]]
    environ = dict(row.split("=", 1) for row in image["Env"]) | dict(node.environ)
    environ |= {"NODE_NAME": node.name}  # by fieldRef
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": security["readOnlyRootFilesystem"]},
        "process": {
            "user": {"uid": security["runAsUser"], "gid": 0},
            "args": [*container.get("command", image["Entrypoint"]), *container["args"]],
            "env": [f"{key}={value}" for key, value in environ.items()],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": not security.get("allowPrivilegeEscalation", True),
        },
        "mounts": [*_MOUNTS],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "ipc", "mount")),
                {"type": "network", "path": f"/run/netns/{node.netns.name}"},
            ],
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": _MASKED,
            "readonlyPaths": _READ_ONLY,
            "seccomp": _seccomp(set(capabilities)),
        },
    }


def _volumes(
    spec: Mapping[str, Any], config: Mapping[str, Any], node: Node, folder: Path
) -> Iterator[dict[str, Any]]:
    sources = {volume["name"]: _source(volume, config, node, folder) for volume in spec["volumes"]}
    for mount in spec["containers"][0]["volumeMounts"]:
        propagation = _PROPAGATIONS[mount.get("mountPropagation", "None")]
        read_only = mount.get("readOnly", False)
        yield _bind(sources[mount["name"]], mount["mountPath"], propagation, ro=read_only)
    account = folder / "account"
    account.mkdir(exist_ok=True)
    yield _bind(account, _ACCOUNT, ro=True)


def _source(volume: Mapping[str, Any], config: Mapping[str, Any], node: Node, folder: Path) -> Path:
    path = folder / f"volume-{volume['name']}"
    if "hostPath" in volume:
        assert volume["hostPath"]["type"] == "DirectoryOrCreate"
        path = node.host / volume["hostPath"]["path"].lstrip("/")
    path.mkdir(parents=True, exist_ok=True)
    if "configMap" in volume:
        for name, text in config["data"].items():
            (path / name).write_text(text)
    return path


def _bind(
    source: Path, destination: str, propagation: str = "rprivate", *, ro: bool
) -> dict[str, Any]:
    options = ["rbind", propagation, "ro" if ro else "rw"]
    return {"destination": destination, "type": "bind", "source": str(source), "options": options}


def _seccomp(capabilities: set[str]) -> dict[str, Any]:
    """The runtime's default profile as it is for a container with these capabilities."""
    profile = json.loads(SECCOMP.read_text())
    machine, call = {
        "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
        "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    }[platform.machine()]

    def counts(rule: Mapping[str, Any]) -> bool:
        only, never = rule.get("includes") or {}, rule.get("excludes") or {}
        return (
            set(only.get("caps", ())) <= capabilities
            and not set(never.get("caps", ())) & capabilities
            and machine in only.get("arches", (machine,))
            and machine not in never.get("arches", ())
        )

    kept = ("names", "action", "args", "errnoRet")
    rows = [
        {key: rule[key] for key in kept if rule.get(key) is not None}
        for rule in profile["syscalls"]
        if counts(rule)
    ]
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [call],
        "syscalls": rows,
    }
