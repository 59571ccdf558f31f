"""Traffic from outside: the programs at the uplinks, and who is inside the cluster.

    asked for, and there     programs at each uplink, as uplinks come and go
    refused, or not wanted   none: nftables answers, and sockets are served all the same

A link that comes again has no programs: whatever rtnetlink says makes us look again. The links'
filters outlive us, as they serve on; what is not kept up to date is detached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence

from podwire_ebpf import uplink
from podwire_ebpf.errors import BpfError
from podwire_ebpf.external import INSIDERS
from podwire_ebpf.plane import External
from podwire_ebpf.records import Member
from podwire_node.sockets.earlier import detach_uplinks, uplinks_in_use
from podwire_node.sockets.opening import Opened
from podwire_node.sockets.uplinks import Uplinks

log = logging.getLogger(__name__)

_EXTRA = {"component": "sockets"}


class Outside:
    """Of the network namespace it was made in. wanted: whether it is asked for. Close it."""

    def __init__(self, *, wanted: bool) -> None:
        self._links = Uplinks() if wanted else None
        self._external: External | None = None
        self._wanted: tuple[Collection[str], Sequence[str]] | None = None
        self._there: frozenset[str] = frozenset()
        self._problems: list[str] = []
        self._refused = ""

    @property
    def problems(self) -> Sequence[str]:
        """What nftables answers alone, and why."""
        return [self._refused] if self._refused else self._problems

    def watched(self) -> Iterator[tuple[int, Callable[[], object]]]:
        """See Work."""
        if self._links is not None:
            yield self._links.fileno(), self._moved

    def begin(self, opened: Opened) -> None:
        """Programs are open, or could not be."""
        self._external, self._wanted, self._refused = opened.external, None, ""
        if opened.external is not None:
            self._there = frozenset(uplinks_in_use())  # an earlier agent's, of other links
            return
        detach_uplinks()  # an earlier run's, which nobody keeps up to date
        if opened.refused is not None:
            self._refused = f"what comes from outside is answered by nftables: {opened.refused}"
            log.error("%s", self._refused, extra=_EXTRA)
            if opened.refused.details:
                log.debug("%s", opened.refused.details, extra=_EXTRA)

    def end(self) -> None:
        """The programs' maps are gone."""
        self._external = None

    def look_again(self) -> None:
        """Compare: what was refused may fit now, and no one announces that a filter went."""
        self._wanted = None

    def keep(self, addresses: Collection[str], pods: Sequence[str]) -> None:
        """addresses: our Node's; pods: networks of pods. Raises BpfError."""
        if self._external is None or self._links is None or self._wanted == (addresses, pods):
            return
        try:
            self._tell(self._external, frozenset(pods))
            names = self._links.names(addresses)
        except OSError as error:
            raise BpfError(f"uplinks: {error.strerror}") from error
        before, self._problems = self._problems, []
        for each in sorted(names):
            self._attach(self._external, each)
        for each in sorted(self._there - names):
            self._detach(each)
        for problem in self._problems:
            if problem not in before:
                log.warning("%s", problem)
        self._there, self._wanted = names, (addresses, pods)

    def close(self) -> None:
        """Look no more."""
        if self._links is not None:
            self._links.close()

    def _moved(self) -> None:
        """Links, addresses or routes changed."""
        if self._links is not None:
            self._links.hear()
        self._wanted = None

    def _tell(self, external: External, pods: frozenset[str]) -> None:
        table = external.insiders
        there = table.read()
        table.delete([each for each in there if each not in pods])
        table.update({each: Member() for each in sorted(pods)[: INSIDERS.max_entries]})

    def _attach(self, external: External, link: str) -> None:
        """One that cannot be is nftables' alone."""
        try:
            if uplink.attach(link, external.programs):
                log.info("what comes in by %s is answered by eBPF", link)
        except BpfError as error:
            self._problems.append(f"uplink {link}: {error}")

    def _detach(self, link: str) -> None:
        try:
            uplink.detach(link)
        except BpfError:
            log.debug("uplink %s is gone", link)
