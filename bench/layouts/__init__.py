"""Ways to put a cluster's Services into nftables, each driven by decoded objects.

podwire      our proxy: the objects, the delta, the kernel, as the agent does it
kube_proxy   chains and maps as kube-proxy 1.36 writes them, sent by `nft -f -`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from podwire_core.objects import EndpointSlice, KubernetesObject

NODE = "node-000"


class Layout(Protocol):
    """One of them, in the network namespace of whoever makes it."""

    def load(self, objects: Sequence[KubernetesObject]) -> None:
        """Put Nodes, Services and slices in force; the tables are not there yet."""
        ...

    def change(self, now: EndpointSlice) -> None:
        """One slice is another now: put it in force."""
        ...
