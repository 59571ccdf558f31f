"""Whether pods here can be given networks: podCIDRs, which may come late, and the conflist.

leases ─► attached pods ─┐
CNI calls ─► admission ──┴─► the loop ─► parts ─► kernel
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from podwire_core.objects import Node
from podwire_core.snapshot import Change
from podwire_node.cni.calls.readiness import Readiness
from podwire_node.cni.files.conflist_keeper import ConflistKeeper
from podwire_node.intake import Intake
from podwire_node.own_pods import OwnPods
from podwire_node.parts import Part
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component

if TYPE_CHECKING:
    from podwire_node.cni.admission.attached_pods import AttachedPods
    from podwire_node.cni.audit import Auditor
    from podwire_node.cni.calls.agent_host import AgentHost
    from podwire_node.cni.calls.turns import Turns
    from podwire_node.metrics import Metrics
    from podwire_node.routes.node_routes import NodeRoutes


class PodNetwork:
    """What component cni does beyond the kernel; nothing where it is not asked for."""

    def __init__(
        self,
        config: AgentConfig,
        own: OwnPods,
        intake: Intake,
        parts: Sequence[Part],
        stack: ExitStack,
    ) -> None:
        self._config = config
        self._parts = parts
        self._conflist: ConflistKeeper | None = None
        self._routes: NodeRoutes | None = None
        self._attached: AttachedPods | None = None
        self._readiness = Readiness()
        self._pod_cidrs: Sequence[str] = ()
        if Component.CNI in config.components:
            self._conflist = ConflistKeeper(config, stack, self._serving)
            routes = next(part.work for part in parts if part.work.name == "routes")
            self._routes = cast("NodeRoutes", routes)  # importing it costs 80 ms of pyroute2
            if config.cni_socket:
                self._attached = _attached_pods(config, own, intake, parts)
                stack.callback(self._attached.close)

    @property
    def calls(self) -> int | None:
        """The descriptor that wakes the loop when pods came or went; hear() is to be called."""
        return self._attached.fileno() if self._attached else None

    def hear(self) -> Sequence[Change]:
        """Pods that came and went; what that changed in the snapshot."""
        return self._attached.hear() if self._attached else ()

    def settle(self) -> None:
        """To be called after each sync of the parts: calls go on whose pods are in force."""
        if self._attached is not None:
            self._readiness.look(self._parts)
            self._attached.settle()

    @property
    def up(self) -> bool:
        """Whether pods here can have networks, and we are who gives them."""
        return self._conflist is not None and self._conflist.ready and bool(self._pod_cidrs)

    @property
    def routes(self) -> int:
        """Routes that should be in force."""
        return self._routes.count if self._routes else 0

    @property
    def mtu(self) -> int:
        """What pods' links should have, in bytes; 0 when no uplink of ours is known."""
        return self._routes.mtu if self._routes else 0

    @property
    def problems(self) -> Sequence[str]:
        """What could not be written or served, and why; pods that are denied everything."""
        files = self._conflist.problems if self._conflist else ()
        return [*files, *(self._attached.problems if self._attached else ())]

    def watched(self) -> Sequence[tuple[int, Callable[[], object]]]:
        """Descriptors that wake the agent's loop, and what is to be called then."""
        return self._conflist.watched() if self._conflist else ()

    def waiting(self, mine: Node | None) -> list[str]:
        """What it waits for."""
        if self._conflist is None:
            return []
        if mine is None or not mine.pod_cidrs:
            return [f"podCIDRs of Node {self._config.node}"]
        return [] if self._conflist.ready else ["cni: the conflist"]

    def sync(self, now: float, mine: Node | None) -> float | None:
        """To be called once the first sync is in the kernel; answers when to try again."""
        if self._conflist is None:
            return None
        from podwire_cni.uplink import DEFAULT_MTU  # noqa: PLC0415 - policies alone need none of it

        self._pod_cidrs = mine.pod_cidrs if mine else ()
        # Without an uplink it is what the plugin would find, after a look at each pod's route.
        return self._conflist.sync(now, self._pod_cidrs, self.mtu or DEFAULT_MTU)

    @contextmanager
    def _serving(self) -> Iterator[None]:
        """Answer CNI calls inside the block. Raises SocketUnusable, OSError."""
        from podwire_node.cni.calls.agent_host import AgentHost  # noqa: PLC0415 - only who serves needs it
        from podwire_node.cni.calls.plugin import AgentPlugin  # noqa: PLC0415 - same
        from podwire_node.cni.calls.server import CniServer, make_turns  # noqa: PLC0415 - same

        attached, state = self._attached, Path(self._config.cni_state_dir)
        if attached is None:
            raise RuntimeError("there is no socket to serve at")
        # A call asks for Python's lock after each of some 40 system calls. While the loop puts a
        # large table in force each would wait the default of 5 ms: an ADD takes 29 ms, not 70.
        sys.setswitchinterval(0.0005)
        with ExitStack() as stack:
            turns = make_turns()
            host = AgentHost(state, attached.admission, turns, attached.with_ports)
            stack.callback(host.close)
            host.forget_released()
            plugin = AgentPlugin(host, self._readiness)
            metrics = next((part.metrics for part in self._parts if part.metrics), None)
            counted = metrics.cni if metrics else lambda *_: None
            socket = Path(self._config.cni_socket)
            server = CniServer(socket, state, plugin=plugin, turns=turns, counted=counted)
            stack.enter_context(server)
            stack.enter_context(self._audit(host, turns, metrics))
            stack.callback(attached.close)  # the loop has ended: nobody waits for it any more
            yield

    def _audit(self, host: AgentHost, turns: Turns, metrics: Metrics | None) -> Auditor:
        """What compares leases, links and routes while calls are answered."""
        from podwire_node.cni.audit import Auditor, Place  # noqa: PLC0415 - see _serving

        place = Place(
            Path(self._config.cni_state_dir),
            ranges=lambda: self._pod_cidrs,
            mapped=self._attached.with_ports if host.serves_ports and self._attached else None,
        )
        told = metrics.cni_repaired if metrics else lambda _kind: None
        return Auditor(place, host, turns.taken, lambda kind: told(kind.word))


def _attached_pods(
    config: AgentConfig, own: OwnPods, intake: Intake, parts: Sequence[Part]
) -> AttachedPods:
    from podwire_node.cni.admission.attached_pods import AttachedPods  # noqa: PLC0415 - see _serving

    attached = AttachedPods(own, intake, parts)
    attached.begin(Path(config.cni_state_dir))
    return attached
