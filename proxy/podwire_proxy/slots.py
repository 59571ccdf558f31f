"""Which backend stands in which slot of the endpoint map.

Slots are dense, 0 to n-1, because a random number below n picks one. A change moves as few
as it can: who stays keeps its slot, who comes takes the slot of one who went, and only when
more go than come does the last slot move into the hole.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from podwire_proxy.frontend import Backend


def assign(before: Sequence[Backend], now: Collection[Backend]) -> tuple[Backend, ...]:
    """The slots after a change. At most max(gone, come) of them differ from `before`'s.

    Equal input gives equal output, and `assign(slots, set(slots)) == slots`.
    """
    if not before:
        return tuple(sorted(now))
    slots: list[Backend | None] = [backend if backend in now else None for backend in before]
    kept = set(slots)
    if len(kept) - (None in kept) != sum(slot is not None for slot in slots):
        slots, kept = [], set()  # one backend in two slots: not our doing, start anew
    newcomers = sorted(backend for backend in now if backend not in kept)
    for index, slot in enumerate(slots):
        if slot is None and newcomers:
            slots[index] = newcomers.pop(0)
    slots += newcomers
    return _close_holes(slots)


def _close_holes(slots: list[Backend | None]) -> tuple[Backend, ...]:
    """Move the last backends into the holes that are left."""
    index = 0
    while index < len(slots):
        if slots[index] is not None:
            index += 1
        elif slots[-1] is None:
            slots.pop()
        else:
            slots[index] = slots.pop()
    return tuple(slot for slot in slots if slot is not None)
