"""What the programs are told: whose node it is, whether localhost is theirs, and who listens.

agent starts ─► settings: node, LOCALHOST                  (a listener that was killed: forgotten)
observe()    ─► settings: node, LOCALHOST | OBSERVED ─► programs write to the ring ─► Events
another plane ─► the same, and its ring: who listens goes on with that one
unobserve()  ─► settings: node, LOCALHOST
"""

from __future__ import annotations

from contextlib import suppress

from podwire_ebpf.canary import call
from podwire_ebpf.errors import BpfError
from podwire_ebpf.features import netns_cookie
from podwire_ebpf.plane import Plane
from podwire_ebpf.records import Flag, Settings
from podwire_node.control.errors import ControlError
from podwire_node.observe.sockets import Hear


class Observing:
    """The settings of a plane, of one after another.

    node: the cookie of the node's namespace, 0 while that is not known.
    """

    def __init__(self, *, localhost: bool) -> None:
        self.node = netns_cookie() or 0
        self._always = Flag.LOCALHOST if localhost else Flag(0)
        self._plane: Plane | None = None
        self._hear: Hear | None = None
        self._heard = False

    def begin(self, plane: Plane) -> None:
        """It is this plane from now on; tell() it."""
        self._plane, self._heard = plane, False

    def end(self) -> None:
        """There is none, for a while."""
        self._plane = None

    def tell(self) -> None:
        """Tell the programs, and who listens; nothing where they know. Raises BpfError."""
        if self._plane is None:
            return
        self._set(self._plane, Flag.OBSERVED if self._hear else Flag(0))
        if self._hear and not self._heard:
            self._hear(self._plane.events())
            self._heard = True

    def observe(self, hear: Hear) -> None:
        """See podwire_node.observe.sockets. Raises ControlError, and then nobody listens."""
        self._hear, self._heard = hear, False
        try:
            self.tell()
        except BpfError as error:
            with suppress(ControlError):
                self.unobserve()
            raise ControlError(str(error)) from error

    def unobserve(self) -> None:
        """Nobody listens any more. Raises ControlError."""
        self._hear = None
        try:
            self.tell()
        except BpfError as error:
            raise ControlError(str(error)) from error

    def reached(self) -> int | None:
        """The cookie of the calling thread's network namespace, by a canary's call if need be.

        Before Linux 5.14 that needs programs.
        """
        cookie, plane = netns_cookie(), self._plane
        if cookie is not None or plane is None:
            return cookie
        for number in call().values():
            if seen := plane.tables.canaries.get(number):
                return seen.namespace
        return None

    def _set(self, plane: Plane, flags: Flag) -> None:
        wanted = Settings(self.node, self._always | flags)
        try:
            if plane.tables.settings.get(0) != wanted:
                plane.settings(wanted.node, wanted.flags)
        except OSError as error:
            raise BpfError(f"the settings cannot be changed: {error.strerror}") from error
