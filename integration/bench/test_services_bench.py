"""`bench/services.py --quick`: it measures something everywhere, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bench/services.py"
NAMES = [
    "load_s",
    "layout_ratio",
    "growth",
    "change_p50_ms",
    "change_p99_ms",
    "rss_mb",
    "connect_ratio",
    "connect_scale",
]

pytest.importorskip("matplotlib", reason="draws the curves: pip install -e '.[bench]'")


def namespaces_of(pid: int) -> list[Path]:
    """Those that integration/tools/scratch.py made in a process."""
    return list(Path("/run/netns").glob(f"pwt-{pid}-*"))


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--pictures", str(folder), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_quick_prints_every_figure_draws_and_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, "--json")
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert list(found["figures"]) == NAMES
    assert all(figure["value"] > 0 for figure in found["figures"].values())
    result = errors.splitlines()[-1].split()
    assert result[0] == "RESULT"
    assert [word.partition("=")[0] for word in result[1:]] == NAMES
    assert {path.name for path in tmp_path.iterdir()} == {"services.svg", "services.png"}
    assert not namespaces_of(process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path)
    deadline = time.monotonic() + 60
    while not namespaces_of(process.pid):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode
    assert not namespaces_of(process.pid)
    assert not list(tmp_path.iterdir())
