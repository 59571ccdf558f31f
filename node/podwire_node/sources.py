"""Where the agent's objects come from: the feed that the settings name."""

from __future__ import annotations

from pathlib import Path

from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.feed.interface import Feed
from podwire_core.snapshot import AGENT_KINDS
from podwire_node.parts import kinds_of
from podwire_node.settings.agent_config import AgentConfig


def open_feed(config: AgentConfig) -> tuple[Feed, ApiServer | None]:
    """The feed, of the kinds that the components need, and the API server behind it, if any.

    Raises FeedError.
    """
    kinds = kinds_of(config.components)
    if not config.in_cluster:
        rows = {name: kind for name, kind in AGENT_KINDS.items() if kind in kinds}
        return DirectoryFeed(Path(config.feed), rows), None
    from podwire_core.feed.cluster import RESOURCES, ClusterFeed  # noqa: PLC0415 - only who needs it

    kubeconfig = Path(config.kubeconfig) if config.kubeconfig else None
    server = ApiServer.connect(kubeconfig, config.api_server or None)
    return ClusterFeed(server, [row for row in RESOURCES if row.kind in kinds]), server
