"""The CNI client, compiled from its source for a test."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "cni-plugin/client"


def build(folder: Path, **variables: str) -> Path:
    """The program; the variables are its Makefile's. Skips without a compiler."""
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
