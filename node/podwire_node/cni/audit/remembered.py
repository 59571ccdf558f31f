"""What container runtimes remember of attachments: libcni's cache, read and never written.

A file for each attachment that was added and not yet deleted, `NETWORK-CONTAINER-INTERFACE`:

    {"kind": "cniCacheV1", "networkName": …, "containerId": …, "ifName": …, "netns": …,
     "cniArgs": [["K8S_POD_NAME", …], …], …}

It proves that somebody may still delete the attachment, not that its pod lives: a cache outlives
reboots. So the network namespace that it names counts. (libcni/api.go, cachedInfo)
"""

from __future__ import annotations

import ipaddress
import os
from itertools import islice
from pathlib import Path
from typing import Annotated

import msgspec

from podwire_cni.attachment import Attachment
from podwire_cni.errors import CniError
from podwire_cni.ports import parse_ports
from podwire_core import typed
from podwire_node.cni.audit.view import Remembered

FOLDER = Path("/var/lib/cni/results")

_FILES = 10_000
_BYTES = 1 << 20
_KIND = "cniCacheV1"
_INITIAL_PIDS = 0xEFFFFFFC  # PROC_PID_INIT_INO, linux/proc_ns.h

_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class _Address(msgspec.Struct):
    address: str


class _Result(msgspec.Struct):
    ips: list[_Address] = []


class _Cached(msgspec.Struct, rename="camel"):
    kind: str
    network_name: _Word
    container_id: _Word
    if_name: _Word
    netns: str = ""
    cni_args: list[tuple[str, str]] | None = None
    capability_args: dict[str, object] | None = None
    result: _Result | None = None


def read_remembered(folder: Path = FOLDER) -> dict[str, Remembered] | None:
    """Every attachment that a runtime remembers, by its host end's name.

    None when the folder cannot be read. A file that is no such entry is left out.
    """
    try:
        with os.scandir(folder) as entries:
            paths = [Path(entry.path) for entry in islice(entries, _FILES)]
    except OSError:
        return None
    known = (entry for path in paths if (entry := _read(path)))
    return {entry.attachment.host_name: entry for entry in known}


def _read(path: Path) -> Remembered | None:
    try:
        with path.open("rb") as file:
            cached = typed.decode(file.read(_BYTES), _Cached)
        return _remembered(cached) if cached.kind == _KIND else None
    except (OSError, ValueError, CniError):
        return None


def _remembered(cached: _Cached) -> Remembered:
    """Raises ValueError or CniError when something in it is not what a runtime writes."""
    attachment = Attachment(cached.network_name, cached.container_id, cached.if_name)
    args = dict(cached.cni_args or ())
    namespace, name = args.get("K8S_POD_NAMESPACE"), args.get("K8S_POD_NAME")
    ips = cached.result.ips if cached.result else []
    return Remembered(
        attachment,
        _alive(cached.netns),
        f"{namespace}/{name}" if namespace and name else attachment.container,
        tuple(ipaddress.ip_interface(each.address).ip for each in ips),
        parse_ports((cached.capability_args or {}).get("portMappings") or []),
    )


def _alive(netns: str) -> bool:
    """False only where the namespace is surely gone: we see where it was, and not it."""
    if not netns or "\0" in netns:
        return True
    path = Path(netns)
    try:
        if path.exists():
            return True
        if path.match("/proc/*/ns/net"):
            # Another PID namespace's numbers say nothing of the node's processes.
            return Path("/proc/self/ns/pid").stat().st_ino != _INITIAL_PIDS
        return not path.parent.is_dir()
    except OSError:
        return True
