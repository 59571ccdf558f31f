"""NetworkUnavailable, the Node's condition that says whether pods there have a network.

Cloud controllers set it to True before a node has routes, and the scheduler keeps pods away
(the taint node.kubernetes.io/network-unavailable) until whoever gives pods their network sets
it to False. We do that when all is in the kernel, again when someone sets it to True again, and
never the other way: an agent that stops takes nothing out of force.

It goes by what the Node says, and not by what was sent: while it is not "False", and no letter is
on its way, there is one more, backing off. So a 403 before a role is bound is got over.

Source: Kubernetes API reference, NodeCondition v1 core.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from podwire_core.backoff import Backoff
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
    """Clears the condition for as long as the Node is seen without it cleared.

    outbox: nothing else goes into it; it wakes the loop when a letter's end is known.
    """

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._backoff = Backoff(first=2.0, most=300.0, jitter=0.5)

    def sync(self, mine: Node | None, now: float, *, up: bool) -> float | None:
        """Our Node as it is now; up: whether pods here have a network. now: monotonic seconds.

        Answers when to come again, None for when something has changed.
        """
        if mine is None or not up:
            return None
        if mine.network_unavailable == "False":
            self._backoff.succeeded()
            return None
        if not self._outbox.idle:
            return None
        if self._backoff.due(now):
            self._outbox.put(NetworkIsUp(mine.metadata.name))
            self._backoff.failed(now)
            return None
        return self._backoff.until
