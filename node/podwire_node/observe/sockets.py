"""What is asked of the part that has the socket programs, and of the kernel's ring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from podwire_ebpf.place import Place
from podwire_ebpf.records import Event, FrontendKey


class Events(Protocol):
    """The kernel's ring (podwire_ebpf). lost: how many did not fit in, so far."""

    @property
    def lost(self) -> int:
        """See the class."""
        ...

    def fileno(self) -> int:
        """Readable when there is something to read."""
        ...

    def read(self) -> Sequence[Event]:
        """What came, oldest first."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


#: Takes a ring to read, and closes it; called in the agent's loop. It must not wait, nor raise.
Hear = Callable[[Events], object]


class Sockets(Protocol):
    """The part that has the programs; only the agent's loop may call it."""

    def observe(self, hear: Hear) -> None:
        """Set the flag. hear: gets the ring now, and another when what was pinned is made anew.

        The last who asked is told. Raises ControlError, which says why there are no translations.
        """
        ...

    def unobserve(self) -> None:
        """Clear the flag; nobody gets rings any more."""
        ...

    @property
    def backend(self) -> str:
        """What serves sockets now: ebpf, or nftables."""
        ...

    @property
    def why(self) -> str:
        """Why it is nftables, in one sentence."""
        ...

    @property
    def place(self) -> Place:
        """Where the programs and their maps are."""
        ...

    @property
    def node_cookie(self) -> int:
        """Of the node's own network namespace, 0 while that is not known."""
        ...

    @property
    def labels(self) -> Mapping[FrontendKey, str]:
        """namespace/name:port of what can be dialled."""
        ...

    @property
    def left(self) -> Mapping[FrontendKey, str]:
        """What nftables serves alone, and why."""
        ...

    def reached(self) -> int | None:
        """See Namespaces: the cookie of the calling thread's namespace. Any thread may ask."""
        ...
