"""Reads the pinned maps: each entry decoded, and as the kernel has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from podwire_ebpf import external, pins, syscall
from podwire_ebpf.errors import BpfError
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_tables
from podwire_ebpf.store import maps_folder
from podwire_ebpf.tables import Table
from podwire_node.control.errors import ControlError
from podwire_node.dump.rows import Entry


@contextmanager
def maps(place: Place) -> Iterator[Mapping[str, Table[Any, Any]]]:
    """By name, to read alone; those of traffic from outside where they are pinned, too.

    Raises ControlError when there are none, or reading fails.
    """
    try:
        with closing(open_tables(place)) as tables, ExitStack() as stack:
            found = {table.layout.name: table for table in tables}
            for layout in external.TABLES.values():
                shape = pins.shapes([layout])
                taken = pins.open_maps(maps_folder(place.folder), shape, syscall.READ_ONLY)
                if taken is not None:
                    table = Table(layout, taken[layout.name])
                    stack.callback(table.close)
                    found[layout.name] = table
            yield found
    except BpfError as error:
        raise ControlError(str(error)) from error
    except OSError as error:
        raise ControlError(f"{place.folder}: {error.strerror or error}") from error


def entries(table: Table[Any, Any]) -> Iterator[Entry]:
    """All that is in a map."""
    unpack = table.layout.key.unpack
    for key, value in table.raw():
        yield Entry(unpack(key), table.decode(value), key, value)
