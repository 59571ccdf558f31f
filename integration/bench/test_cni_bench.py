"""`bench/cni.py --quick`: it measures something everywhere, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from scratch import until

SCRIPT = Path(__file__).parents[2] / "bench/cni.py"
NAMES = [
    "add_ratio",
    "del_ratio",
    "burst_ratio",
    "client_ms",
    "client_rss_mb",
    "agent_growth_mb",
]

if not Path("/usr/lib/cni/ptp").exists():
    lack = "the stock plugins are missing: install containernetworking-plugins"
    pytest.skip(lack, allow_module_level=True)


def start() -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--quick", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def mounts_of(pid: int | str) -> str:
    """The mount namespace of a process; empty when it has gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def inside(mounts: str) -> list[str]:
    """The processes that hold the mounts, and with them the namespaces that were made there."""
    pids = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if mounts_of(pid) == mounts]


def entered(process: subprocess.Popen[str]) -> str:
    """Wait until an agent of its own runs, in mounts of its own; which mounts."""

    def runs() -> bool:
        assert process.poll() is None, process.communicate()
        mounts = mounts_of(process.pid)
        return mounts != mounts_of("self") and any(map(is_agent, inside(mounts)))

    until("it has started an agent", runs, seconds=60)
    return mounts_of(process.pid)


def is_agent(pid: str) -> bool:
    with suppress(OSError):
        return b"podwire_node\0agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def test_quick_prints_every_figure_and_leaves_nothing() -> None:
    process = start()
    mounts = entered(process)
    output, errors = process.communicate(timeout=250)
    assert process.returncode == 0, errors
    figures = json.loads(output)["figures"]
    left = figures.pop("links, routes, neighbours and leases left")
    assert left["value"] == 0
    assert list(figures) == NAMES
    assert all(figures[name]["value"] > 0 for name in NAMES[:-1])
    result = errors.splitlines()[-1].split()
    assert result[0] == "RESULT"
    assert [word.partition("=")[0] for word in result[1:]] == NAMES
    until("all its processes have gone", lambda: inside(mounts) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(number: signal.Signals) -> None:
    process = start()
    mounts = entered(process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode
    until("all its processes have gone", lambda: inside(mounts) == [])
