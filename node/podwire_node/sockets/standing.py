"""How sockets are served, and why: for the status, metrics, the log, and an event on our Node.

attached ─► judged: a proof is ok ─► backend ebpf
    ▲                    └─ is not ─► backend nftables, a doubt
    └── detached
"""

from __future__ import annotations

import logging

from podwire_ebpf.errors import BpfError
from podwire_ebpf.proof import Proof
from podwire_node.metrics import Metrics

log = logging.getLogger(__name__)

_EXTRA = {"component": "sockets"}


class Standing:
    """why: it is nftables; "" where it is not.  problem: what a kernel refused last.

    doubt: of what is attached, since a proof failed.  settled: see Work; it was proven, or refused.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.settled = self.attached = self._proven = False
        self.problem = self.doubt = ""
        self.why = "the programs are being opened"
        metrics.backend(self.backend, "")

    @property
    def backend(self) -> str:
        """What serves sockets, as far as that is proven. Any thread may ask."""
        return "ebpf" if self._proven else "nftables"

    def opened(self) -> None:
        """There are maps, and nobody reads them."""
        self.problem, self.why = "", "the maps are being filled"

    def attaches(self) -> None:
        """The programs are attached; whether they are reached, a proof says."""
        self.attached, self.why = True, "the programs are attached, and not proven yet"

    def judge(self, found: Proof | BpfError) -> None:
        """A look is over."""
        self.settled = True
        sentence = str(found) if isinstance(found, BpfError) else found.sentence
        self._proven = isinstance(found, Proof) and found.ok
        before, self.doubt = self.doubt, f"sockets are not served: {sentence}"
        if self._proven:
            self.doubt = ""
        if before and self._proven:
            log.info("sockets are served again: %s", sentence, extra=_EXTRA)
        elif self.doubt and not before:
            log.error("%s; attaching again", self.doubt, extra=_EXTRA)
        self._metrics.sockets_attached(attached=self._proven)
        self._tell(self.doubt)

    def detached(self, why: str) -> None:
        """Nothing is attached any more, or ever was."""
        self.settled, self.attached, self._proven = True, False, False
        self._tell(why)

    def fails(self, error: BpfError) -> None:
        """Something was refused, and will be tried again."""
        self.settled = True
        before, self.problem = self.problem, f"sockets: {error}"
        if self.problem != before:
            log.error("%s; trying again", self.problem, extra=_EXTRA)
            if error.details:
                log.debug("%s", error.details, extra=_EXTRA)

    def _tell(self, why: str) -> None:
        self.why = why
        self._metrics.backend(self.backend, why)
