"""Tests of cluster policies: both tiers, both directions, every transport, and one short policy."""

from __future__ import annotations

from typing import Any

import pytest
from cluster_policy_model import (
    Row,
    cluster_policy,
    of_namespaces,
    sctp,
    tcp,
    udp,
)
from policy_model import Cluster, match
from semantics_model import (
    APP,
    APP6,
    WEB,
    WEB6,
    allowed,
)

TIERS = ("Admin", "Baseline")
DIRECTIONS = ("ingress", "egress")
TRANSPORTS = {"TCP": tcp, "UDP": udp, "SCTP": sctp}
SHOP, OTHER = of_namespaces(match(team="red")), of_namespaces(match(team="blue"))

both_tiers = pytest.mark.parametrize("tier", TIERS)
both_directions = pytest.mark.parametrize("direction", DIRECTIONS)
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


def about_shop(tier: str, direction: str, *rules: Row, name: str = "c", **spec: Any) -> Any:
    """A policy about shop's pods, with rules of one direction."""
    return cluster_policy(name, tier=tier, **{"subject": SHOP, direction: rules, **spec})


def open_(made: Cluster, direction: str, way: tuple[str, int] = ("TCP", 80)) -> bool:
    """Whether shop/web is reached by other/app (ingress), or reaches it; in both families alike."""
    ends = (APP, WEB) if direction == "ingress" else (WEB, APP)
    ends6 = (APP6, WEB6) if direction == "ingress" else (WEB6, APP6)
    answer = allowed(made, *ends, *way)
    assert allowed(made, *ends6, *way) is answer
    return answer
