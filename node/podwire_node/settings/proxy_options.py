"""What the settings of Services mean to the proxy. Pure.

    nodeportAddresses            NodePorts answer at
    primary                      our Node's InternalIPs
    all                          every address of the node but loopback
    10.0.0.0/8                   IPv4: the node's addresses in it, but loopback; IPv6: all, as
                                 kube-proxy has it for a family of which nothing is said
    localhost, or 127.0.0.0/8    127.0.0.0/8; alone, nowhere else

IPv6's ::1 is served at sockets alone (proxyMode ebpf), where 127.0.0.0/8 is: nftables translates
nothing that comes from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from podwire_core.family import FAMILIES, Family, family_of
from podwire_ebpf.external import MASQUERADE_MARK, TRANSLATED_MARK
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.values import ALL, LOCALHOST, PRIMARY
from podwire_proxy.options import Local, Options

#: The unspecified address, which no node has as its own: NodePorts answer nowhere.
_NOWHERE = {Family.IPV4: "0.0.0.0/32", Family.IPV6: "::/128"}


def proxy_options(config: AgentConfig) -> Options:
    """How Services are served."""
    return Options(
        local=_local(config),
        masquerade_all=config.masquerade_all,
        nodeport_addresses=tuple(_nodeports(config.nodeport_addresses)),
        localhost_nodeports=any(map(_is_localhost, config.nodeport_addresses)),
        tcp_serving=config.stale_sockets == "all" and config.proxy_mode != "nftables",
        masquerade_mark=MASQUERADE_MARK if config.ebpf_external else 0,
        translated_mark=TRANSLATED_MARK if config.ebpf_external else 0,
    )


def _local(config: AgentConfig) -> Local:
    match config.detect_local_mode:
        case "NodeCIDR":
            return Local("own")
        case "BridgeInterface":
            return Local("interface", interface=config.pod_bridge_interface)
        case "InterfaceNamePrefix":
            return Local("interface", interface=f"{config.pod_interface_name_prefix}*")
        case _ if config.cluster_cidr:
            return Local("cidrs", cidrs=config.cluster_cidr)
        case _:
            return Local("nodes")


def _nodeports(asked: Sequence[str]) -> Iterator[str]:
    """CIDRs of both families, or nothing for `primary`."""
    if PRIMARY in asked:
        return
    if ALL in asked:
        yield from (family.everything for family in FAMILIES)
        return
    cidrs = [each for each in asked if each != LOCALHOST]
    for family in FAMILIES:
        of_family = [each for each in cidrs if family_of(each) is family]
        unsaid = family.everything if cidrs else _NOWHERE[family]
        beyond = [each for each in of_family if not ip_network(each).is_loopback]
        yield from beyond or [_NOWHERE[family] if of_family else unsaid]


def _is_localhost(each: str) -> bool:
    return each == LOCALHOST or (
        "/" in each and family_of(each) is Family.IPV4 and ip_network(each).is_loopback
    )
