"""Settings that are fine alone and not together: mistakes, and what is only odd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_network

from podwire_core.family import FAMILIES, Family, family_of
from podwire_node.settings.agent_config import CLUSTER, AgentConfig
from podwire_node.settings.values import ALL, LOCALHOST, PRIMARY


def contradictions(config: AgentConfig) -> Sequence[str]:
    """What no agent can run with, a sentence each that begins with the setting's key."""
    found = []
    if not config.in_cluster:
        found += [
            f"{key}: needs feed {CLUSTER}, and feed is the folder {config.feed}"
            for key, value in (("kubeconfig", config.kubeconfig), ("apiServer", config.api_server))
            if value
        ]
    if config.gives_networks and config.cni_plugin == "podwire" and not config.cni_socket:
        found.append(
            "cniSocket: the plugin podwire asks this agent: give a path, or use podwire-cni"
        )
    if config.ebpf_external and config.proxy_mode == "nftables":
        found.append("ebpfExternal: needs proxyMode ebpf or auto, and it is nftables")
    return [*found, *_no_companion(config), *_mixed_nodeports(config)]


def _no_companion(config: AgentConfig) -> Iterator[str]:
    """Each way to know local pods, but for the Nodes' podCIDRs, needs to be told one thing more."""
    needs = {
        "ClusterCIDR": ("clusterCidr", config.cluster_cidr),
        "BridgeInterface": ("podBridgeInterface", config.pod_bridge_interface),
        "InterfaceNamePrefix": ("podInterfaceNamePrefix", config.pod_interface_name_prefix),
    }
    key, value = needs.get(config.detect_local_mode, ("", "nothing"))
    if not value:
        yield f"detectLocalMode: {config.detect_local_mode} needs {key}"


def _mixed_nodeports(config: AgentConfig) -> Iterator[str]:
    asked = [each for each in config.nodeport_addresses if each != LOCALHOST]
    for word in (PRIMARY, ALL):
        if word in asked and len(asked) > 1:
            others = ", ".join(each for each in asked if each != word)
            yield f"nodeportAddresses: {word} and {others}: use one or the other"


def cautions(config: AgentConfig) -> Sequence[str]:
    """What an agent runs with all the same, and is likely not meant."""
    return [*_one_family(config), *_unreachable(config)]


def _one_family(config: AgentConfig) -> Iterator[str]:
    """Networks of one family say nothing of the other, which is not that it has none."""
    nodeports = [each for each in config.nodeport_addresses if "/" in each]
    for family in _missing(nodeports):
        yield (
            f"nodeportAddresses: no {family} network: NodePorts answer at every {family} address "
            "of the node"
        )
    for family in _missing(config.cluster_cidr):
        if _has(nodeports, family):
            yield (
                f"clusterCidr: no {family} network, and nodeportAddresses has one: no {family} "
                "client counts as a pod"
            )


def _unreachable(config: AgentConfig) -> Iterator[str]:
    if config.proxy_mode == "nftables" and any(
        _is_ipv6_loopback(each) for each in config.nodeport_addresses if "/" in each
    ):
        yield (
            "nodeportAddresses: ::1: nftables translates nothing that comes from IPv6's "
            "loopback: no NodePort answers there (in proxyMode ebpf, with localhost, it does)"
        )


def _has(networks: Iterable[str], family: Family) -> bool:
    return any(family_of(each) is family for each in networks)


def _missing(networks: Sequence[str]) -> list[Family]:
    """Families that a list names nothing of, though it names something."""
    return [family for family in FAMILIES if networks and not _has(networks, family)]


def _is_ipv6_loopback(network: str) -> bool:
    return family_of(network) is Family.IPV6 and ip_network(network).is_loopback
