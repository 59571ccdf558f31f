"""Where Kubernetes' programs are: KUBERNETES_BIN, else where `make kubernetes` puts them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from podwire_core.errors import PodwireError

#: The programs of a control plane; kube-proxy is asked for when a lab wants it.
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")

_ADVICE = "`make kubernetes` builds them where Go is, or set KUBERNETES_BIN to their folder"
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")


class ProgramsMissing(PodwireError):  # noqa: N818 - a state of the machine
    """Kubernetes' programs are not here; the text says which, and what to do."""


def folder(needed: tuple[str, ...] = CONTROL_PLANE) -> Path:
    """The folder that holds all programs needed. Raises ProgramsMissing."""
    named = os.environ.get("KUBERNETES_BIN")
    where = Path(named) if named else _newest(_cache())
    if where is None:
        raise ProgramsMissing(f"there is no Kubernetes on this machine: {_ADVICE}")
    missing = [name for name in needed if not os.access(where / name, os.X_OK)]
    if missing:
        raise ProgramsMissing(f"there is no {', no '.join(missing)} in {where}: {_ADVICE}")
    return where


def _cache() -> Path:
    return Path.home() / ".cache/podwire/kubernetes"


def _newest(cache: Path) -> Path | None:
    """The folder of the highest version; None when there is none at all."""
    if not cache.is_dir():
        return None
    found = {
        tuple(map(int, match.groups())): path
        for path in cache.iterdir()
        if (match := _VERSION.fullmatch(path.name))
    }
    return found[max(found)] if found else None
