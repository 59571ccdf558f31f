"""NetworkUnavailable, the Node's condition that says whether pods there have a network.

Cloud controllers set it to True before a node has routes, and the scheduler keeps pods away
(the taint node.kubernetes.io/network-unavailable) until whoever gives pods their network sets
it to False. We do that when all is in the kernel, again when someone sets it to True again, and
never the other way: an agent that stops takes nothing out of force.

Source: Kubernetes API reference, NodeCondition v1 core.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from podwire_core.feed.api_server import ApiServer
from podwire_core.objects import NETWORK_UNAVAILABLE, Node
from podwire_node.reports.outbox import Outbox

REASON = "PodwireIsUp"
MESSAGE = "podwire has put routes and rules in force on this node"


@dataclass(frozen=True)
class NetworkIsUp:
    """The condition's end: a Letter."""

    node: str

    @property
    def subject(self) -> str:
        """See Letter."""
        return f"Node {self.node}: condition {NETWORK_UNAVAILABLE}"

    def send(self, server: ApiServer) -> None:
        """See Letter. It is sent only where it changes the status, hence the time."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {
            "type": NETWORK_UNAVAILABLE,
            "status": "False",
            "reason": REASON,
            "message": MESSAGE,
            "lastTransitionTime": now,
            "lastHeartbeatTime": now,
        }
        server.send(
            "PATCH",
            f"/api/v1/nodes/{self.node}/status",
            {"status": {"conditions": [condition]}},
            "application/strategic-merge-patch+json",
        )


class NetworkCondition:
    """Clears the condition once for each time that the Node is seen without it cleared."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._told: Node | None = None

    def sync(self, mine: Node | None, *, up: bool) -> None:
        """Our Node as it is now; up: whether pods here have a network."""
        if mine is None or not up or mine.network_unavailable == "False" or mine is self._told:
            return
        self._told = mine
        self._outbox.put(NetworkIsUp(mine.metadata.name))
