"""The hostPorts' part: leases with port mappings ─► elements of podwire-host-ports."""

from __future__ import annotations

from collections.abc import Callable

from podwire_cni.attachment import Attachment
from podwire_cni.leases import Lease
from podwire_core.nft.kernel import Nft
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.owner import Owner
from podwire_core.snapshot import Snapshot
from podwire_node.host_ports import HostPorts
from podwire_node.programmer import Programmer

_RETRY = 10.0  # seconds until leases that could not be read are read again
_NOTHING = Snapshot()  # hostPorts depend on no object


class PodPorts(Programmer):
    """Implements podwire_node.parts.Work; sync() puts in force what came() and went() changed."""

    def __init__(self, nft: Nft) -> None:
        self._ports = HostPorts()
        #: Whose hostPorts are kept; replaced as a whole, for readers in other threads.
        self.attachments: frozenset[Attachment] = frozenset()
        self._learned: Callable[[], bool] | None = None
        tables = self._ports.tables
        super().__init__("host-ports", self._ports, Owner(nft, tables), Monitor(tables))

    def hold(self, learned: Callable[[], bool]) -> None:
        """Touch nothing in the kernel until this says that the pods are known."""
        self._learned = learned

    def sync(self, now: float) -> float | None:
        """See Work."""
        if self._learned is not None:
            if not self._learned():
                return now + _RETRY
            self._learned = None
        return super().sync(now)

    def came(self, lease: Lease) -> None:
        """A pod has exactly these hostPorts now."""
        if not (lease.ports or self._ports.forwards(lease.attachment)):
            return  # nearly every pod
        self._ports.set(lease.attachment, lease.addresses, lease.ports, lease.pod)
        this = {lease.attachment}
        self.attachments = self.attachments | this if lease.ports else self.attachments - this
        self.take(_NOTHING, ())

    def went(self, lease: Lease) -> None:
        """A pod has none any more."""
        self.attachments -= {lease.attachment}
        self._ports.remove(lease.attachment)  # also one that leads nowhere, whose problem is told
        self.take(_NOTHING, ())
