"""The C sources as modules for the compiler, and digests of what they say.

A module is compiled and pinned as one: its sources in their order, and what is loaded from them.
Two digests name folders of bpffs:

    layout_digest    the maps: what maps.c and flows.c declare, comments apart, layout.py's tables
    program_digest   the programs: all text, the flags, and the maps
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from podwire_ebpf.hooks import HOOKS
from podwire_ebpf.layout import RING, TABLES

FOLDER = Path(__file__).parent
_DECLARATIONS = ("maps.c", "flows.c")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_DIGITS = 16


@dataclass(frozen=True)
class Loaded:
    """A function of a module.  kind: BPF_PROG_TYPE_*.  attach: enum bpf_attach_type; -1: none."""

    function: str
    kind: int
    attach: int = -1


@dataclass(frozen=True)
class Module:
    """What is compiled together.  sources: files beside this one, in order."""

    name: str
    sources: tuple[str, ...]
    programs: tuple[Loaded, ...]

    def text(self) -> str:
        """The sources, each under its own name in what the compiler says."""
        return "\n".join(
            f'#line 1 "{name}"\n{(FOLDER / name).read_text()}' for name in self.sources
        )


SOCKETS = Module(
    "sockets",
    ("maps.c", "rows.c", "lookup.c", "chain.c", "connect.c", "datagram.c", "release.c"),
    tuple(Loaded(hook.program, hook.kind, hook.attach) for hook in HOOKS),
)


def layout_digest() -> str:
    """Of the maps: another one, and what is pinned cannot be used."""
    texts = [(FOLDER / name).read_text() for name in _DECLARATIONS]
    declared = " ".join(_COMMENT.sub(" ", "\n".join(texts)).split())
    shapes = (
        f"{table.name} {int(table.kind)} {table.key.size} {table.element_size} "
        f"{table.elements} {table.flags}"
        for table in TABLES.values()
    )
    return _digest((declared, *shapes, f"{RING[0]} {RING[1]}"))


def program_digest(module: Module, flags: Iterable[str]) -> str:
    """Of a module's programs: another one, and they have to be compiled."""
    shapes = (f"{each.function} {each.kind} {each.attach}" for each in module.programs)
    return _digest((module.text(), *flags, *shapes, layout_digest()))


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
