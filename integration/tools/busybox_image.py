"""An image with busybox alone, as an OCI archive: containerd and podman both read it.

Unless told otherwise it serves a page with the word "served" at port 8080.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

import private_machine

NAME = "localhost/busybox:test"
SERVE = ("httpd", "-f", "-p", "8080", "-h", "/www")
#: What the tests call inside.
APPLETS = ("sh", "sleep", "ping", "wget", "nc", "httpd", "ip", "cat", "echo", "true", "udhcpc")
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "www")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def build(folder: Path) -> Path:
    """The archive. Skips without a static busybox."""
    private_machine.needs("busybox")
    layer = _layer(Path("/usr/bin/busybox"))
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": [*SERVE], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = {"config": json.dumps(config).encode(), "layer": layer}
    manifest = {
        "schemaVersion": 2,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", blobs["config"]),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
    }
    blobs["manifest"] = json.dumps(manifest).encode()
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", blobs["manifest"])
    entry["annotations"] = {
        "io.containerd.image.name": NAME,
        "org.opencontainers.image.ref.name": NAME,
    }
    index = {"schemaVersion": 2, "manifests": [entry]}
    path = folder / "busybox.tar"
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", json.dumps(index).encode())
        for blob in blobs.values():
            _add(archive, "blobs/" + _digest(blob).replace(":", "/"), blob)
    return path


def _layer(busybox: Path) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        _add(archive, "bin/busybox", busybox.read_bytes(), 0o755)
        _add(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        _add(archive, "www/index.html", b"served\n")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return made.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    file = tarfile.TarInfo(name)
    file.size, file.mode = len(content), mode
    archive.addfile(file, io.BytesIO(content))


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _descriptor(kind: str, blob: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}
