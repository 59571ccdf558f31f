"""The agent's settings as a value, checked: AgentConfig.

rows.py says what each is called and what it is for, combinations.py what does not go together.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from podwire_node.settings.values import Component

#: Who counts as a local pod, in kube-proxy's words and one of ours.
LocalMode = Literal["auto", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"]

#: The feed that is no folder.
CLUSTER = "kubernetes"


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent's settings, checked. SETTINGS (rows.py) says what each is for.

    Paths and names are "" where nothing was asked for; mtu is 0 where it is to be worked out;
    conntrack's numbers (entries, seconds) and oom_score_adj are 0 where they stay as they are.
    """

    node: str
    feed: str
    components: tuple[Component, ...] = tuple(Component)
    kubeconfig: str = ""
    api_server: str = ""
    routing: Literal["auto", "direct", "vxlan"] = "auto"
    vxlan_port: int = 8472
    vxlan_id: int = 112
    mtu: int = 0
    masquerade: bool = True
    masquerade_exclude: tuple[str, ...] = ()
    cni_conf_dir: str = ""
    cni_bin_dir: str = ""
    cni_socket: str = ""
    cni_plugin: str = "podwire"
    cni_state_dir: str = "/run/podwire/cni"
    proxy_mode: Literal["nftables", "ebpf", "auto"] = "nftables"
    ebpf_cgroup: str = ""
    ebpf_folder: str = "/sys/fs/bpf/podwire"
    ebpf_external: bool = False
    stale_sockets: Literal["udp", "all", "none"] = "udp"
    detect_local_mode: LocalMode = "auto"
    cluster_cidr: tuple[str, ...] = ()
    pod_bridge_interface: str = ""
    pod_interface_name_prefix: str = ""
    masquerade_all: bool = False
    nodeport_addresses: tuple[str, ...] = ("primary",)
    healthz_bind_address: str = ""
    metrics_bind_address: str = ""
    take_over: bool = False
    conntrack_max_per_core: int = 0
    conntrack_min: int = 0
    conntrack_tcp_timeout_established: int = 0
    conntrack_tcp_timeout_close_wait: int = 0
    conntrack_tcp_be_liberal: bool = False
    conntrack_udp_timeout: int = 0
    conntrack_udp_timeout_stream: int = 0
    oom_score_adj: int = 0
    existing_connections: Literal["keep", "recheck"] = "keep"
    control_socket: str = "/run/podwire/control/agent.sock"
    status: str = ""
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def in_cluster(self) -> bool:
        """Whether objects come from an API server."""
        return self.feed == CLUSTER

    @property
    def gives_networks(self) -> bool:
        """Whether runtimes are told of us, by a conflist or by a socket."""
        return Component.CNI in self.components and bool(self.cni_conf_dir or self.cni_socket)
