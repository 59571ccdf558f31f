"""Where the agent's objects come from: the feed that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from podwire_core.family import FAMILIES
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.feed.interface import Feed
from podwire_core.objects import ClusterNetworkPolicy
from podwire_core.snapshot import AGENT_KINDS, Kind
from podwire_node.parts import kinds_of
from podwire_node.settings.agent_config import AgentConfig

if TYPE_CHECKING:
    from podwire_core.feed.reflector import Resource


def open_feed(config: AgentConfig) -> tuple[Feed, ApiServer | None]:
    """The feed, of the kinds that the components need, and the API server behind it, if any.

    Raises FeedError, NftError.
    """
    kinds = kinds_of(config.components)
    if not config.in_cluster:
        rows = {name: kind for name, kind in AGENT_KINDS.items() if kind in kinds}
        return DirectoryFeed(Path(config.feed), rows), None
    from podwire_core.feed.cluster import ClusterFeed  # noqa: PLC0415 - only who needs it

    kubeconfig = Path(config.kubeconfig) if config.kubeconfig else None
    server = ApiServer.connect(kubeconfig, config.api_server or None)
    return ClusterFeed(server, list(_resources(kinds))), server


def _resources(kinds: frozenset[Kind]) -> Iterator[Resource]:
    """What to ask a server for. Where cluster policies are in force, one 404 is no end of them.

    One of several servers may not have learnt the kind yet; to ask again costs 3 s, and only there.
    """
    from podwire_core.feed.cluster import RESOURCES  # noqa: PLC0415 - as above

    for row in RESOURCES:
        if row.kind is ClusterNetworkPolicy and row.kind in kinds:
            yield replace(row, doubted=_cluster_policies_are_in_force())
        elif row.kind in kinds:
            yield row


def _cluster_policies_are_in_force() -> bool:
    from podwire_node.kube_proxy.removal import nft_chains  # noqa: PLC0415 - a proxy alone asks nothing
    from podwire_policy.groups import Level  # noqa: PLC0415 - same
    from podwire_policy.sets import TABLES  # noqa: PLC0415 - same

    tiers = (f"{Level.ADMIN}-", f"{Level.BASELINE}-")
    chains = (
        each for family in FAMILIES for each in nft_chains(family).get(TABLES[family].name, ())
    )
    return any(each.startswith(tiers) for each in chains)
