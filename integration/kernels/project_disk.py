"""This checkout and its virtual environment as one read-only disk, at /podwire in a guest.

```
 /podwire/…                   what git knows of, or would: as it is on this machine now
 /podwire/.venv/lib/…         site-packages; the userland's Python is this machine's
 /podwire/.venv/bin/python    the userland's /usr/bin/python3
 /podwire/.plan.json          which tests to run
```
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterable
from pathlib import Path

from kernel_image import squash
from selection import Group

ROOT = Path(__file__).parents[2]
HOME = Path("/podwire")
#: Of site-packages: what checks and installs, and runs no test.
_LEFT_OUT = ("mypy*", "*__mypyc*", "ruff*", "pip*", "setuptools*", "pkg_resources", "*.pth")


def project_disk(folder: Path, groups: Iterable[Group]) -> Path:
    """The disk, made in a folder that the caller removes. groups: what its guests are to run."""
    root = folder / "project"
    home = root / HOME.relative_to("/")
    _copy_checkout(home)
    _copy_environment(home / ".venv")
    plan = [(each.name, each.arguments, each.seconds) for each in groups]
    named = [dict(zip(("name", "arguments", "seconds"), each, strict=True)) for each in plan]
    (home / ".plan.json").write_text(json.dumps(named))
    squash(root, folder / "project.squashfs")
    shutil.rmtree(root)
    return folder / "project.squashfs"


def _copy_checkout(home: Path) -> None:
    ask = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # one may have been deleted, and not committed
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, home / name)
    # A guest compiles nothing again: emulated, that takes longer than a test.
    command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*command, "-s", home, "-p", HOME, home], check=False)


def _copy_environment(venv: Path) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    target = venv / packages.relative_to(sys.prefix)
    shutil.copytree(packages, target, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    (target / "podwire.pth").write_text("".join(f"{HOME / each}\n" for each in _editable()))
    (venv / "bin").mkdir()
    for each in ("python", "python3"):
        (venv / "bin" / each).symlink_to("/usr/bin/python3")
    words = "home = /usr/bin\ninclude-system-site-packages = true\n"
    (venv / "pyvenv.cfg").write_text(words)


def _editable() -> Collection[Path]:
    """The folders that hold our packages."""
    return sorted(
        {each.parents[1].relative_to(ROOT) for each in ROOT.glob("*/podwire_*/__init__.py")}
    )
