"""Labs with a real control plane: up with the shop, asked, down, and nothing left."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import control_plane

from podwire_lab.folders import Folders
from podwire_lab.machine import cluster, namespaces, processes
from podwire_lab.topology import Lab, Proxy, plan_lab

ROOT = Path(__file__).parents[2]
SHOP = ROOT / "examples" / "shop"
_numbers = itertools.count(1)


def podwire(lab: Lab, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`podwire lab WORDS[0] --name LAB WORDS[1:]`."""
    script = "from podwire_lab.cli import lab; lab(prog_name='podwire lab')"
    command = [sys.executable, "-c", script, words[0], "--name", lab.name, *words[1:]]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, timeout=240
    )


def kubectl(lab: Lab, *words: str, stdin: str = "") -> str:
    """What kubectl prints, when it succeeds."""
    done = podwire(lab, "kubectl", *words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def what_is_left(name: str) -> list[str]:
    """Everything that is still there of a lab: namespaces, processes, files."""
    marks = (*processes.marked(processes.ROLE), *processes.marked(processes.CONTAINER))
    left = [each for each in marks if each.startswith(f"{name}/")]
    root = Folders.of(name).root
    return [*namespaces.named(f"pw.{name}."), *left, *([str(root)] if root.exists() else [])]


@contextmanager
def raised(proxy: Proxy = Proxy.PODWIRE, manifests: Sequence[Path] = (SHOP,)) -> Iterator[Lab]:
    """A lab with manifests (the shop), taken down whatever happens; its name is nobody else's.

    Skips the test where Kubernetes' programs are not.
    """
    before = {name: os.environ.get(name) for name in ("KUBERNETES_BIN", "PYTHONPATH")}
    os.environ["KUBERNETES_BIN"] = str(control_plane.programs())
    os.environ["PYTHONPATH"] = os.pathsep.join(_sources())
    name = f"k{os.getpid()}-{next(_numbers)}"
    planned = plan_lab(name, 2, kubernetes=True, proxy=proxy)
    try:
        assert cluster.up(planned, manifests, timeout=150).errors == ()
        yield planned
    finally:
        cluster.down(name)
        for variable, value in before.items():
            os.environ.pop(variable) if value is None else os.environ.update({variable: value})
    assert what_is_left(name) == []


def _sources() -> Iterator[str]:
    """Where the test found podwire, so that processes that it starts find the same."""
    return (path for path in sys.path if path.startswith(str(ROOT)) and ".venv" not in path)
