"""How much memory a process holds, in MB of 10^6 bytes."""

from __future__ import annotations

from pathlib import Path


def resident_mb(pid: int | str = "self") -> float:
    """What it holds now (VmRSS)."""
    return _status(pid, "VmRSS:")


def peak_mb(pid: int | str = "self") -> float:
    """The most it ever held (VmHWM)."""
    return _status(pid, "VmHWM:")


def _status(pid: int | str, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(name)[1].split()[0]) * 1024 / 1e6
