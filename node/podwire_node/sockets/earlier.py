"""What an earlier agent left attached, and nobody keeps up to date any more: it goes.

    in the folder            programs, maps, and the links that attach them
    wherever it is pinned    programs at cgroups, made for this network namespace (attachments)
    at links of the node     filters with programs for traffic from outside

Sockets would be sent to endpoints of that day for ever. Programs that are another node's stay: on
one machine there may be several nodes, each a network namespace (a lab), and one default folder.
What a process has in use stays, too.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf import attachments, uplink
from podwire_ebpf.attachments import Attachment
from podwire_ebpf.errors import BpfError, Busy
from podwire_ebpf.features import netns_cookie
from podwire_ebpf.place import no_bpffs
from podwire_ebpf.plane import Place, open_tables, remove

log = logging.getLogger(__name__)

#: How long to wait for a process to give up what it keeps; no one announces that.
AGAIN_S = 60.0

_SELF, _FIRST = Path("/proc/self/ns/net"), Path("/proc/1/ns/net")


def is_ours(place: Place) -> bool:
    """Whether there is anything in the folder, and it is of this network namespace.

    The maps say whose they are. Where they cannot be read, or the kernel does not tell our own
    cookie (before Linux 5.14), what is there is the machine's: its first namespace's. In a folder
    that is not bpffs' nothing is ours, whatever its name.
    """
    try:
        if no_bpffs(place, mount=False) or not any(place.folder.iterdir()):
            return False
    except OSError:
        return False
    mine, theirs = netns_cookie(), _owner(place)
    if mine is None or not theirs:
        return _in_first_namespace()
    return mine == theirs


def _owner(place: Place) -> int:
    try:
        with closing(open_tables(place)) as tables:
            found = tables.settings.get(0)
            return found.node if found else 0
    except BpfError:
        return 0


def _in_first_namespace() -> bool:
    try:
        return _SELF.readlink() == _FIRST.readlink()
    except OSError:
        return False


def attached_elsewhere(place: Place) -> list[Attachment]:
    """Programs at cgroups that are this node's, and not attached by this folder.

    Where the kernel does not tell our cookie: those of this very cgroup, on the same terms.
    """
    here = attachments.pinned(place.folder)
    return [
        each
        for each in attachments.attachments()
        if not each.links & here and _is_this_nodes(each, place)
    ]


def _is_this_nodes(found: Attachment, place: Place) -> bool:
    mine = netns_cookie()
    if mine is not None and found.node:
        return found.node == mine
    try:
        return place.cgroup.stat().st_ino in found.cgroups and _in_first_namespace()
    except OSError:
        return False


def uplinks_in_use() -> list[str]:
    """Links of this network namespace that have programs of ours."""
    return [name for _, name in socket.if_nameindex() if _is_in_use(name)]


def _is_in_use(link: str) -> bool:
    with suppress(OSError, BpfError):  # the link went meanwhile
        return any(uplink.attached(link))
    return False


def detach_uplinks() -> None:
    """Let nftables alone answer what comes from outside."""
    for link in uplinks_in_use():
        try:
            uplink.detach(link)
        except BpfError as error:
            log.warning("uplink %s: an earlier agent's programs stay: %s", link, error)
        else:
            log.info("what comes in by %s is answered by nftables again", link)


def remove_elsewhere(place: Place) -> None:
    """Detach what this node's earlier agents attached by other folders. Raises BpfError, Busy."""
    for each in attached_elsewhere(place):
        attachments.remove(each)
        log.info("an earlier agent's programs at sockets are detached: %s", each)


def remove_all(place: Place) -> None:
    """Remove everything of this node's that nobody uses. Raises Busy, where somebody does."""
    if is_ours(place):
        remove(place)
        log.info("an earlier agent's programs at sockets are detached, %s is removed", place.folder)
    remove_elsewhere(place)
    detach_uplinks()


def remove_earlier(place: Place) -> str:
    """remove_all; why it could not be, in a sentence, or ""."""
    try:
        remove_all(place)
    except BpfError as error:
        return _stays(error)
    return ""


def _stays(error: BpfError) -> str:
    return f"an earlier agent's programs at sockets stay attached: {error}"


class EarlierSockets:
    """Implements podwire_node.parts.Work, in mode nftables: once, when nftables serves.

    What another process uses is looked at again each minute, until that process has ended.
    in_force: whether nftables serves, asked whenever the loop turns.
    """

    name = "earlier-sockets"
    settled = True  # a node is ready before they are gone
    in_sync = True
    unusable: Sequence[ObjectError] = ()

    def __init__(self, place: Place, in_force: Callable[[], bool]) -> None:
        self._place, self._in_force = place, in_force
        self._due: float | None = 0.0
        self.problems: list[str] = []

    def watched(self) -> Iterable[tuple[int, Callable[[], None]]]:
        """Nobody announces these."""
        return ()

    def take(self, _snapshot: Snapshot, _changes: Sequence[Change]) -> None:
        """It depends on no object."""

    def sync(self, now: float) -> float | None:
        """See the class."""
        if self._due is not None and now >= self._due and self._in_force():
            self._due = self._look(now)
        return self._due or None

    def _look(self, now: float) -> float | None:
        """When to look again; None: never."""
        before, self.problems = self.problems, []
        try:
            remove_all(self._place)
        except BpfError as error:
            self.problems = [_stays(error)]
            if self.problems != before:
                log.warning("%s", *self.problems)
            return now + AGAIN_S if isinstance(error, Busy) else None
        return None
