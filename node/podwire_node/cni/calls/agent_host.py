"""The agent as the plugin's host: what of a pod's life is decided outside of its link.

```
 ADD   lease ─► admit ─► link, addresses, routes ─► answer        admit: policy and hostPorts
 DEL   link gone ─► forget ─► lease released                       are in the kernel
                      │
                      ├─ the loop: its policy's and hostPorts' elements go
                      └─ a thread: connections, neighbours         (forget.py)
```
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from podwire_cni.attachment import Attachment
from podwire_cni.errors import CniError, TryAgain
from podwire_cni.family import IPAddress
from podwire_cni.host import Host
from podwire_cni.leases import Lease, Leases, boot_id, kept_open
from podwire_cni.link_remover import LinkRemover
from podwire_core.errors import ConntrackError
from podwire_node.cni.admission.admission import Admission
from podwire_node.cni.calls.turns import Late, Turns
from podwire_node.cni.released.forget import Forgetter
from podwire_node.host_ports.forward import Forward, forwards
from podwire_node.host_ports.stale import forget_stale

log = logging.getLogger(__name__)


class AgentHost(Host):
    """Made in the agent's network namespace. Thread-safe.

    state_dir: where leases are, whatever a configuration says.  admission: None where there is
    no loop that could admit.  turns: the server's.  with_ports: whose hostPorts are kept.
    close() gives back what it opened.
    """

    def __init__(
        self,
        state_dir: Path,
        admission: Admission | None = None,
        turns: Turns | None = None,
        with_ports: Callable[[], Container[Attachment]] | None = None,
    ) -> None:
        self.state_dir = self._folder = state_dir
        self.serves_ports = admission is not None and admission.serves_ports
        self._admission = admission
        self._turns = turns
        self._with_ports = with_ports
        self._links = LinkRemover()
        self._forgetter = Forgetter()
        self._open = ExitStack()
        self._open.callback(self._forgetter.close)
        # A call takes a connection that another one has left: 0.4 ms less for each.
        self._open.enter_context(kept_open(state_dir))

    @contextmanager
    def turn(self, container: str, deadline: float) -> Iterator[None]:
        """See Host. Raises TryAgain."""
        if self._turns is None:
            yield
            return
        try:
            with self._turns.also_taken(container, deadline):
                yield
        except Late:
            raise TryAgain("another call for it took too long") from None

    def admit(self, lease: Lease, deadline: float, uid: str = "") -> None:
        """See Host. Raises TryAgain that says what was waited for."""
        if not self._forgetter.wait(lease.addresses, deadline):
            raise TryAgain("connections of the addresses' last owner are not forgotten yet")
        if self._admission is not None:
            self._admission.admit(lease, deadline, uid)
        _forget_stale(come=tuple(forwards(lease.addresses, lease.ports)))

    def lacks(self, lease: Lease) -> Sequence[str]:
        """See Host."""
        if not lease.ports or self._with_ports is None or lease.attachment in self._with_ports():
            return ()
        return (f"hostPorts of {lease.pod} are not in force",)

    def forget(self, lease: Lease) -> None:
        """See Host."""
        if self._admission is not None:
            self._admission.leave(lease)
        _forget_stale(gone=tuple(forwards(lease.addresses, lease.ports)))
        self.forget_addresses(lease.addresses)

    def forget_addresses(self, addresses: Sequence[IPAddress]) -> None:
        """See Host; soon, by a thread."""
        self._forgetter.submit(addresses)

    def remove_link(self, name: str) -> bool:
        """See Host; returns when the link has gone, not when the kernel is done with it."""
        return self._links.remove(name)

    def forget_released(self) -> None:
        """Forget all addresses that rest: the last agent may not have come to it."""
        try:
            with Leases(self._folder, boot_id(), create=False) as leases:
                resting = [address for address, _ in leases.resting()]
        except CniError as error:
            log.warning("cni: connections of released addresses stay: %s", error)
            return
        self._forgetter.submit(resting)

    def close(self) -> None:
        """Forget no more: what waits is looked for at the next start."""
        self._open.close()


def _forget_stale(come: Sequence[Forward] = (), gone: Sequence[Forward] = ()) -> None:
    """What cannot be forgotten holds up no pod."""
    try:
        forget_stale(come, gone)
    except (ConntrackError, OSError) as error:
        log.warning("cni: conversations with hostPorts may go to another pod: %s", error)
