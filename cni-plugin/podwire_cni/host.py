"""What the plugin asks of where it runs: a process for one call, or the node's agent.

```
 ADD   lease ─► admit ─► links                 admit: policy and hostPorts first, so that no
 DEL   links gone ─► forget ─► lease released         packet of the pod's ever passes without
```

`Host` is the process for one call, which keeps nothing between calls. The agent has a class of
its own with the same methods. All of them are called from several threads at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # VERSION needs no SQLite, which leases brings
    from pathlib import Path

    from podwire_cni.family import IPAddress
    from podwire_cni.leases import Lease


class Host:
    """A process for one call.

    state_dir: wins over the configuration's `stateDir`.
    serves_ports: whether `admit` can put `portMappings` in force.
    """

    state_dir: Path | None = None
    serves_ports: bool = False

    def turn(self, container: str, deadline: float) -> AbstractContextManager[None]:
        """Work for a container while no other call does; deadline: of time.monotonic().

        Asked for by GC; what comes for one container comes in its turn. Raises TryAgain. A process
        for one call knows of no others.
        """
        del container, deadline
        return nullcontext()

    def admit(self, lease: Lease, deadline: float, uid: str = "") -> None:
        """Return when the pod's policy and hostPorts are in force; before it has a link.

        deadline: of time.monotonic().  uid: the Kubernetes Pod's, "" where the runtime does not
        say it.  Raises CniError, and the ADD is undone.
        """

    def lacks(self, lease: Lease) -> Sequence[str]:
        """What of `admit` is not in force any more, a sentence each; CHECK tells it."""
        del lease
        return ()

    def forget(self, lease: Lease) -> None:
        """Forget what was remembered of the lease's addresses; its link is gone.

        hostPorts, connections and neighbours. Nothing left to forget is success.
        """

    def forget_addresses(self, addresses: Sequence[IPAddress]) -> None:
        """Forget what was remembered of addresses that nobody holds: connections, neighbours."""

    def remove_link(self, name: str) -> bool:
        """Remove a link of the node's; False when there is none. Raises KernelRefused."""
        from podwire_cni import netlink  # noqa: PLC0415 - VERSION needs no kernel

        return netlink.remove_link(name)


ALONE = Host()
