"""`bench/ebpf.py --quick`: it measures something everywhere, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import kernel_features
import pytest
from scratch import until

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench/ebpf.py"
NAMES = ["connect_ratio", "vs_nft", "load_s", "change_p50_ms", "rss_mb"]
CONTENDERS = 9

kernel_features.needs("cgroup_link")


def cgroups_of(pid: int) -> list[Path]:
    """Those that bench/sockets/places.py made in a process."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    mount = next(line.split()[4] for line in mounts if " - cgroup2 " in line)
    return list(Path(mount).glob(f"podwire-bench-{pid}-*"))


def mounts_of(pid: int | str) -> str:
    """The mount namespace of a process; empty when it has gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return ""


def inside(mounts: str) -> list[str]:
    """The processes that hold the mounts, and with them namespaces and a bpffs."""
    pids = [path.name for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [pid for pid in pids if mounts_of(pid) == mounts]


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--quick", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def entered(process: subprocess.Popen[str]) -> str:
    """Wait until it has a cgroup of its own; its mounts."""

    def has() -> bool:
        assert process.poll() is None, process.communicate()
        return bool(cgroups_of(process.pid))

    until("it has a cgroup", has, seconds=60)
    mounts = mounts_of(process.pid)
    assert mounts != mounts_of("self")
    return mounts


@pytest.mark.timeout(400)
def test_quick_prints_every_figure_and_leaves_nothing() -> None:
    process = start("--json")
    mounts = entered(process)
    output, errors = process.communicate(timeout=350)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert list(found["figures"]) == NAMES
    assert all(figure["value"] > 0 for figure in found["figures"].values())
    assert len(found["contenders"]) == CONTENDERS
    for contender in found["contenders"].values():
        assert all(value > 0 for value in contender.values() if not isinstance(value, str))
    result = errors.splitlines()[-1].split()
    assert result[0] == "RESULT"
    assert [word.partition("=")[0] for word in result[1:]] == NAMES
    assert not cgroups_of(process.pid)
    until("all its processes have gone", lambda: inside(mounts) == [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(number: signal.Signals) -> None:
    process = start()
    mounts = entered(process)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode
    until("all its processes have gone", lambda: inside(mounts) == [])
    assert not cgroups_of(process.pid)
