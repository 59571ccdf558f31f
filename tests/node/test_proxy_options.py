"""What kube-proxy's words mean to the proxy."""

from __future__ import annotations

from typing import Any

import pytest

from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.proxy_options import proxy_options
from podwire_proxy.options import Local

NOWHERE = ("0.0.0.0/32", "::/128")
EVERYWHERE = ("0.0.0.0/0", "::/0")


def config(**settings: Any) -> AgentConfig:
    return AgentConfig(node="n", feed="kubernetes", **settings)


@pytest.mark.parametrize(
    ("asked", "cidrs", "localhost"),
    [
        (("primary",), (), False),
        (("primary", "localhost"), (), True),
        (("all",), EVERYWHERE, False),
        (("all", "localhost"), EVERYWHERE, True),
        (("10.0.0.0/8",), ("10.0.0.0/8", "::/0"), False),
        (("fd00::/8",), ("0.0.0.0/0", "fd00::/8"), False),
        (("10.0.0.0/8", "fd00::/8"), ("10.0.0.0/8", "fd00::/8"), False),
        (("10.0.0.0/8", "127.0.0.0/8"), ("10.0.0.0/8", "::/0"), True),
        (("127.0.0.0/8",), ("0.0.0.0/32", "::/0"), True),
        (("127.0.0.1/32", "::1/128"), NOWHERE, True),
        (("localhost",), NOWHERE, True),
        (("0.0.0.0/0",), EVERYWHERE, False),
    ],
)
def test_where_nodeports_answer(
    asked: tuple[str, ...], cidrs: tuple[str, ...], localhost: bool
) -> None:
    options = proxy_options(config(nodeport_addresses=asked))
    assert (options.nodeport_addresses, options.localhost_nodeports) == (cidrs, localhost)


@pytest.mark.parametrize(
    ("settings", "local"),
    [
        ({}, Local("nodes")),
        ({"cluster_cidr": ("10.244.0.0/16",)}, Local("cidrs", ("10.244.0.0/16",))),
        (
            {"cluster_cidr": ("10.244.0.0/16",), "detect_local_mode": "ClusterCIDR"},
            Local("cidrs", ("10.244.0.0/16",)),
        ),
        (
            {"cluster_cidr": ("10.244.0.0/16",), "detect_local_mode": "NodeCIDR"},
            Local("own"),
        ),
        (
            {"detect_local_mode": "BridgeInterface", "pod_bridge_interface": "cni0"},
            Local("interface", interface="cni0"),
        ),
        (
            {"detect_local_mode": "InterfaceNamePrefix", "pod_interface_name_prefix": "cali"},
            Local("interface", interface="cali*"),
        ),
    ],
)
def test_who_counts_as_a_local_pod(settings: dict[str, Any], local: Local) -> None:
    assert proxy_options(config(**settings)).local == local


def test_everyone_is_masqueraded_where_that_is_asked() -> None:
    assert proxy_options(config(masquerade_all=True)).masquerade_all
    assert not proxy_options(config()).masquerade_all
