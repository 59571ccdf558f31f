"""What deploy/ amounts to: its objects as kubectl and helm render them.

helm comes from HELM_BIN, else from where `make helm` puts it, else from the PATH.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, TypeAlias

import control_plane
import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart/podwire"
#: Overlay, and the components it has: as the chart's value has them.
OVERLAYS = {
    "all": ("cni", "proxy", "policy"),
    "all-ebpf": ("cni", "proxy", "policy"),
    "cni-only": ("cni",),
    "proxy-only": ("proxy",),
    "policy-only": ("policy",),
}

Object: TypeAlias = dict[str, Any]


def kustomized(overlay: str) -> str:
    """An overlay's objects, as YAML."""
    kubectl = control_plane.programs() / "kubectl"
    return _output(str(kubectl), "kustomize", str(DEPLOY / "overlays" / overlay))


def chart(*options: str) -> str:
    """The chart's objects, as YAML. options: of `helm template`."""
    return _output(str(tool("helm")), "template", "podwire", str(CHART), "-n=kube-system", *options)


def chart_for(overlay: str) -> str:
    """The chart's objects for an overlay's components, and its way to serve Services."""
    mode = ("--set=proxy.mode=ebpf",) if overlay.endswith("-ebpf") else ()
    return chart(f"--set=components={{{','.join(OVERLAYS[overlay])}}}", *mode)


def objects(text: str) -> dict[str, Object]:
    """Objects by kind."""
    made = [each for each in yaml.safe_load_all(text) if each]
    assert len({each["kind"] for each in made}) == len(made)
    return {each["kind"]: each for each in made}


def tool(name: str) -> Path:
    """helm or kind; skips the test, saying what would make it run."""
    version = re.search(r"helm\.sh/helm/v4 (v\S+)", (ROOT / "integration/helm/go.mod").read_text())
    assert version is not None
    default = Path.home() / ".cache/podwire/helm" / version.group(1)
    found = Path(os.environ.get("HELM_BIN", default)) / name
    if found.exists():
        return found
    if elsewhere := shutil.which(name):
        return Path(elsewhere)
    lack = f"there is no {name} in {found.parent}: `make helm` builds one where Go is"
    if os.environ.get("CI") and shutil.which("go"):
        pytest.fail(lack)  # there it could have been built, so a skip would rot
    pytest.skip(lack)


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
