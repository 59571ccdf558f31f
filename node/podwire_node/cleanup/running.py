"""Agents of ours that run in this network namespace, found by what the kernel says of processes.

Those of other process namespaces (another container's) are not seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_PROC = Path("/proc")
_MAX_BYTES = 4096
_COMMANDS = {b"agent", b"proxy"}
_PYTHONS_WORDS = 4  # among which it names what it runs, behind options of its own


def our_agents(proc: Path = _PROC) -> list[int]:
    """Process ids of `podwire agent` and `podwire proxy`."""
    return list(_processes(proc, _is_agent))


def kube_proxies(proc: Path = _PROC) -> list[int]:
    """Process ids of kube-proxy."""
    return list(_processes(proc, _is_kube_proxy))


def _processes(proc: Path, wanted: Callable[[Sequence[bytes]], bool]) -> Iterator[int]:
    """Processes of our network namespace whose words are such."""
    here = _namespace(proc / "self")
    for folder in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        if wanted(_words(folder)) and here and _namespace(folder) == here:
            yield int(folder.name)


def _namespace(folder: Path) -> str:
    try:
        return str((folder / "ns/net").readlink())
    except OSError:  # it has ended, or is not ours to ask
        return ""


def _words(folder: Path) -> list[bytes]:
    try:
        with (folder / "cmdline").open("rb") as file:
            return file.read(_MAX_BYTES).split(b"\0")
    except OSError:
        return []


def _is_agent(words: Sequence[bytes]) -> bool:
    """`podwire agent …`, also as `python -m podwire_node agent …`; but for who only cleans up.

    Who has started one and waits for its end (sudo, timeout, tini) has its words too, and is none.
    """
    if any(word.startswith(b"--cleanup") for word in words):
        return False
    names = [word.rpartition(b"/")[2] for word in words[:_PYTHONS_WORDS]]
    if names and not names[0].startswith(b"python"):
        names = names[:1]
    return any(
        name in {b"podwire", b"podwire_node"} and following in _COMMANDS
        for name, following in zip(names, words[1:], strict=False)
    )


def _is_kube_proxy(words: Sequence[bytes]) -> bool:
    return bool(words) and words[0].rpartition(b"/")[2] == b"kube-proxy"
