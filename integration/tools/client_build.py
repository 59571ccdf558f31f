"""The CNI client, compiled from its source for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

# Where a configuration says nothing, it shall not be this machine's own agent.
_NOWHERE = ("SOCKET='\"/nowhere/cni.sock\"'", "QUEUE='\"/dev/null/queue\"'")
SOURCE = Path(__file__).parents[2] / "cni-plugin/client"


def build(folder: Path, **variables: str) -> Path:
    """The program; the variables are its Makefile's. Skips without a compiler."""
    defines = " ".join(f"-DPODWIRE_{each}" for each in _NOWHERE)
    variables["CFLAGS"] = f"{variables.get('CFLAGS', '-O2')} {defines}"
    return _made(folder, variables)


def build_for_agents() -> Path:
    """The program as `make client` builds it, where agents of this checkout look for it."""
    return _made(SOURCE / "build", {})


def _made(folder: Path, variables: Mapping[str, str]) -> Path:
    missing = [tool for tool in ("cc", "make") if shutil.which(tool) is None]
    if missing:
        lack = f"cannot build the CNI client without {', '.join(missing)}: install gcc and make"
        if os.environ.get("CI"):
            pytest.fail(lack)  # `make setup` installs them, so a skip would rot
        pytest.skip(lack)
    assigned = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "-s", "-C", str(SOURCE), f"BUILD={folder}", *assigned],
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return folder / "podwire"
