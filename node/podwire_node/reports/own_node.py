"""How our own Node stands, in the log: when something is wrong, and again when that changes.

is it there?   podCIDRs, for component cni
no                                           not there: is that our name? There are …
yes            none                          no network for pods yet
yes            some, or not asked for        well: said only after one of the others
"""

from __future__ import annotations

import logging

from podwire_core.objects import Node
from podwire_core.snapshot import Snapshot
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import Component

log = logging.getLogger(__name__)

_NAMED = 3


def missing(config: AgentConfig) -> str:
    """What is said of a Node that is not there; "" for an agent that needs none."""
    if not {Component.CNI, Component.PROXY} & set(config.components):
        return ""
    return f"Node {config.node} is not there: is that our name?"


class OwnNode:
    """To be told of the Node whenever it may have changed, once all Nodes are read."""

    def __init__(self, config: AgentConfig) -> None:
        self._name = config.node
        self._missing = missing(config)
        self._attaches = Component.CNI in config.components
        self._told = ""

    def look(self, snapshot: Snapshot, mine: Node | None) -> None:
        """Say how it stands, if that is news."""
        pod_cidrs = mine.pod_cidrs if mine else ()
        trouble = self._trouble(there=mine is not None, able=bool(pod_cidrs))
        if trouble == self._told:
            return
        if trouble == self._missing:
            need = "; pods here get no network without it" if self._attaches else ""
            log.warning("%s %s%s", trouble, _named(snapshot), need)
        elif trouble:
            log.warning("%s", trouble)
        else:
            listed = f" and has podCIDRs {', '.join(pod_cidrs)}" if self._attaches else ""
            log.info("Node %s is there%s", self._name, listed)
        self._told = trouble

    def _trouble(self, *, there: bool, able: bool) -> str:
        if not there:
            return self._missing
        if able or not self._attaches:
            return ""
        return (
            f"Node {self._name} has no podCIDRs: pods here get no network until it has some "
            "(spec.podCIDRs, from kube-controller-manager --allocate-node-cidrs)"
        )


def _named(snapshot: Snapshot) -> str:
    """The Nodes that there are, a few of them by name."""
    names = [each.name.name for each in snapshot.all(Node)]
    if not names:
        return "There is no Node at all"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"There are: {', '.join(names[:_NAMED])}{more}"
