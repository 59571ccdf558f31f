"""Folders that are made once, and named by what they are made of.

`~/.cache/podwire/kernels/NAME-DIGEST`: another recipe is another folder, and one of the same name
that is a week old goes when its successor is made. One that is half made has another name, and is
gone when its maker is. Two runs at once may make the same.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_WEEK = 7 * 86_400
FOLDER = Path.home() / ".cache/podwire/kernels"


def folder(name: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """The folder of a name and a recipe; make fills it if it is not there."""
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    made = FOLDER / f"{name}-{digest}"
    if made.exists():
        return made
    FOLDER.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=FOLDER))
    try:
        whole = scratch / "whole"
        whole.mkdir()
        make(whole)
        for older in FOLDER.glob(f"{name}-{'?' * len(digest)}"):
            if time.time() - older.stat().st_mtime > _WEEK:  # else another run may boot from it
                shutil.rmtree(older)
        try:
            whole.rename(made)
        except OSError:
            if not made.exists():  # else another run was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made
