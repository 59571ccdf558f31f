"""connect() from a pod to pods of other namespaces, through each engine and through none, in turn.

TRACKED      the node tracks connections and has no rules of anyone
WITHOUT      our tables, and no policy
POLICIES     our tables with all policies; both ends are isolated and allow each other
KUBE_ROUTER  kube-router's ruleset for the same policies

Client and server are on the same node, so both directions are judged there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import scratch
from connecting import TRACKING
from pods import Batch, Network, build, connect_times, pods

from policing import crowd
from policing.rounds import Load, Sizes, run_load

TRACKED, WITHOUT, POLICIES, KUBE_ROUTER = "tracked", "without", "policies", "kube-router"


def targets(namespaces: int) -> list[str]:
    """Our Node's pods of the first one's team, each in a namespace of its own."""
    team = crowd.team(0, namespaces)
    local = range(1, min(namespaces, crowd.LOCAL))
    mates = [number for number in local if crowd.team(number, namespaces) == team]
    return [f"{crowd.local_address(number)}:{crowd.PORT}" for number in mates]


def run_connects(
    sizes: Sizes, folder: Path, told: Callable[[object], object]
) -> dict[str, list[Batch]]:
    """Batches of each of the names above, one a round."""
    program = build(folder)
    loads = {
        TRACKED: None,
        WITHOUT: Load("podwire", sizes.few, with_policies=False),
        POLICIES: Load("podwire", sizes.few),
        KUBE_ROUTER: Load("kube-router", sizes.few),
    }
    with ExitStack() as undo:
        networks: list[Network] = []
        for name, load in loads.items():
            told(f"connect(): {load or 'a node without rules'}")
            node = scratch.make()
            undo.callback(scratch.remove, node)
            if load:
                run_load(node, load)
            else:
                node.run("nft", TRACKING)
            client = undo.enter_context(pods(node, program, crowd.local_address(0)))
            networks.append(Network(name, client, targets(sizes.few)))
        told("connect()")
        return connect_times(program, networks, sizes.connect_rounds, sizes.connect_turns)
