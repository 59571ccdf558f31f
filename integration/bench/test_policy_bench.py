"""`bench/policy.py --quick`: it measures something everywhere, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from scratch import until

SCRIPT = Path(__file__).parents[2] / "bench/policy.py"
NAMES = ["load1k_s", "load10k_s", "rss_mb", "peer_p50_ms", "local_p50_ms", "connect_ratio"]


def namespaces_of(pid: int) -> list[Path]:
    """Those that integration/tools/scratch.py made in a process."""
    return list(Path("/run/netns").glob(f"pwt-{pid}-*"))


def start(*options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), "--quick", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.timeout(600)
def test_quick_prints_every_figure_and_leaves_nothing() -> None:
    process = start("--json")
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    found = json.loads(output)
    assert list(found["figures"]) == NAMES
    assert all(figure["value"] > 0 for figure in found["figures"].values())
    rows = found["beside"]
    for words in ("local pod, group known comes", "local pod, new group comes", "kube-router 100:"):
        assert any(words in row for row in rows)
    assert any(row.startswith("connect(), kube-router 100") for row in rows)
    result = errors.splitlines()[-1].split()
    assert result[0] == "RESULT"
    assert [word.partition("=")[0] for word in result[1:]] == NAMES
    assert not namespaces_of(process.pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(number: signal.Signals) -> None:
    process = start()
    until("it has begun", lambda: bool(namespaces_of(process.pid)) or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert not namespaces_of(process.pid)
