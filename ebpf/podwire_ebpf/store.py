"""What is pinned for one layout of maps: taken over, or made where it is missing or not ours.

    maps       all of layout.py at once: half of them would be a plane with holes
    more       maps that a module brings, one by one
    programs   a module's, compiled by a child

What is there is believed after a look: maps have their sizes, and programs use these maps. Anything
else in their place is removed; what it is attached to keeps it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from podwire_ebpf import external, pins, syscall
from podwire_ebpf.compilation import compile_into
from podwire_ebpf.errors import BpfError
from podwire_ebpf.features import Features
from podwire_ebpf.layout import TABLES, Layout
from podwire_ebpf.sources import SOCKETS, Module, layout_digest, program_digest

Step = Callable[[str], None]


class Store:
    """The pins of one folder, which the caller has locked.

    It owns every descriptor it gave, but those of `maps`, which are the caller's.
    """

    def __init__(self, folder: Path, features: Features, step: Step) -> None:
        self._flags = ["-DHAVE_SET_RETVAL"] if features.set_retval else []
        self._folder = folder
        self._maps = maps_folder(folder)
        self._ids: dict[str, int] = {}
        self._step = step
        self._held = ExitStack()

    @property
    def names(self) -> frozenset[str]:
        """Folders that this version uses, or may use: all others are an earlier one's."""
        modules = (self._programs(module).name for module in (SOCKETS, external.MODULE))
        return frozenset({self._maps.name, *modules})

    def maps(self) -> tuple[dict[str, int], bool]:
        """Descriptors of all maps of layout.py and of the ring, and whether they are new."""
        wanted = pins.shapes(TABLES.values(), ring=True)
        taken = pins.open_maps(self._maps, wanted)
        fresh = taken is None
        if taken is None:
            pins.remove_folder(self._maps)
            self._step("maps removed")
            taken = pins.make_maps(self._maps, wanted, self._step)
            self._step("maps made")
        self._note(taken)
        return taken, fresh

    def more(self, tables: Iterable[Layout[Any, Any]]) -> dict[str, int]:
        """Descriptors of further maps, pinned beside the others."""
        found: dict[str, int] = {}
        for name, shape in pins.shapes(tables).items():
            taken = pins.open_maps(self._maps, {name: shape})
            if taken is None:
                (self._maps / name).unlink(missing_ok=True)
                taken = {name: pins.make_map(self._maps, name, shape)}
            self._note(taken)
            for descriptor in taken.values():
                self._held.callback(os.close, descriptor)
            found |= taken
        return found

    def programs(self, module: Module) -> dict[str, int]:
        """Descriptors of a module's programs, by function. The maps they use are taken before."""
        folder = self._programs(module)
        names = [each.function for each in module.programs]
        taken = pins.open_programs(folder, names, self._ids.values())
        if taken is None:
            pins.remove_folder(folder)
            self._step("programs removed")
            with pins.half_made(folder) as new:
                compile_into(new, self._maps, module, self._flags)
                self._step("programs compiled")
            taken = pins.open_programs(folder, names, self._ids.values())
        if taken is None:
            raise BpfError(f"{folder} does not hold what was compiled into it")
        for descriptor in taken.values():
            self._held.callback(os.close, descriptor)
        return taken

    def close(self) -> None:
        """Give the descriptors back; what is pinned stays."""
        self._held.close()

    def _programs(self, module: Module) -> Path:
        return self._folder / f"{pins.PROGRAMS}{program_digest(module, self._flags)}"

    def _note(self, maps: Mapping[str, int]) -> None:
        for name, descriptor in maps.items():
            self._ids[name] = syscall.map_info(descriptor).id


def maps_folder(folder: Path) -> Path:
    """Where the maps of this version's layout are pinned."""
    return folder / f"{pins.MAPS}{layout_digest()}"
