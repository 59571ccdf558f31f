"""Whether pods here can be given networks: podCIDRs, which may come late, and the conflist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from podwire_core.objects import Node
from podwire_node.cni.conflist_keeper import ConflistKeeper
from podwire_node.parts import Part
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component

if TYPE_CHECKING:
    from podwire_node.routes.node_routes import NodeRoutes


class PodNetwork:
    """What component cni does beyond the kernel; nothing where it is not asked for."""

    def __init__(self, config: AgentConfig, parts: Iterable[Part], stack: ExitStack) -> None:
        self._node = config.node
        self._conflist: ConflistKeeper | None = None
        self._routes: NodeRoutes | None = None
        self._pod_cidrs: Sequence[str] = ()
        if Component.CNI in config.components:
            self._conflist = ConflistKeeper(config, stack)
            routes = next(part.work for part in parts if part.work.name == "routes")
            self._routes = cast("NodeRoutes", routes)  # importing it costs 80 ms of pyroute2

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
        """What pods' links should have; 0: whatever the plugin finds."""
        return self._routes.mtu if self._routes else 0

    @property
    def problems(self) -> Sequence[str]:
        """What could not be written or served, and why."""
        return self._conflist.problems if self._conflist else ()

    def waiting(self, mine: Node | None) -> list[str]:
        """What it waits for."""
        if self._conflist is None:
            return []
        if mine is None or not mine.pod_cidrs:
            return [f"podCIDRs of Node {self._node}"]
        return [] if self._conflist.ready else ["cni: the conflist"]

    def sync(self, now: float, mine: Node | None) -> float | None:
        """To be called once the first sync is in the kernel; answers when to try again."""
        if self._conflist is None:
            return None
        self._pod_cidrs = mine.pod_cidrs if mine else ()
        return self._conflist.sync(now, self._pod_cidrs, self.mtu)
