"""connect() through each layout, and without any, in turn.

DIRECT   a pod's own address; the node tracks connections and has no Services
BESIDE   the same on a node that has all of them: what Services cost who does not use them
FEW      through a Service of few: our tables
MANY     through a Service of many, each connection to another one: our tables
LAYOUT   the same: kube-proxy's layout
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import scratch
from loading import Load, Sizes, run_load
from pods import Batch, Network, build, connect_times, direct_targets, pods, service_targets

DIRECT, BESIDE, FEW, MANY, LAYOUT = "direct", "beside", "few", "many", "layout"

#: Loads conntrack and nothing else.
TRACKING = (
    "add table ip bench; "
    "add chain ip bench forward { type filter hook forward priority 0; }; "
    "add rule ip bench forward ct state invalid drop"
)


def run_connects(
    sizes: Sizes, folder: Path, told: Callable[[object], object]
) -> dict[str, list[Batch]]:
    """Batches of each of the names above, one a round."""
    program = build(folder)
    services = service_targets(sizes.services)
    direct = direct_targets(sizes.services)
    with ExitStack() as undo:

        def client(load: Load | None) -> scratch.Netns:
            told(load or "a node without Services")
            node = scratch.make()
            undo.callback(scratch.remove, node)
            if load:
                run_load(node, load)
            else:
                node.run("nft", TRACKING)
            return undo.enter_context(pods(node, program))

        many = client(Load("podwire", sizes.services, sizes.endpoints))
        networks = [
            Network(DIRECT, client(None), direct),
            Network(BESIDE, many, direct),
            Network(
                FEW,
                client(Load("podwire", sizes.few, sizes.endpoints)),
                service_targets(sizes.few),
            ),
            Network(MANY, many, services),
            Network(
                LAYOUT,
                client(Load("kube-proxy", sizes.services, sizes.few_endpoints)),
                services,
            ),
        ]
        told("connect()")
        return connect_times(program, networks, sizes.connect_rounds, sizes.connect_turns)
