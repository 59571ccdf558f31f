"""Settings of Services, whose names and meanings are those of kube-proxy's flags."""

from __future__ import annotations

from podwire_node.settings.setting import Setting
from podwire_node.settings.values import (
    boolean,
    host_port,
    matching,
    needed_path,
    networks,
    nodeport_addresses,
    one_of,
    path,
    seconds,
    whole,
)

_SERVICES = "Services (component proxy)"
_CONNTRACK = "Connection tracking (component proxy)"

_LINK = matching(r"[A-Za-z0-9._:@-]{0,15}")  # what a link may be called, short of odd signs
_PREFIX = matching(r"[A-Za-z0-9._:@-]{0,14}")  # and of its beginning, with nft's * behind it
_HOST_PORT = "use ADDRESS:PORT, such as 127.0.0.1:10249 or [::]:10249"
_NUMBER = "use a whole number, 0 leaves it"
_SECONDS = "use seconds, or a duration such as 1h30m, of at most 24 days; 0 leaves it"
_MOST = 2**31 - 1

PROXY_ROWS = (
    Setting(
        "proxyMode",
        one_of("nftables", "ebpf", "auto"),
        "use nftables, ebpf or auto: iptables and ipvs are kube-proxy's",
        "What answers for Services: packets' rules; programs at sockets beside them (ebpf); or "
        "these where they can be (auto).",
        _SERVICES,
        "nftables|ebpf|auto",
    ),
    Setting(
        "ebpfCgroup",
        path,
        "use an absolute path",
        "The cgroup whose sockets are served; else the root of cgroup2's mount.",
        _SERVICES,
        "DIR",
    ),
    Setting(
        "ebpfFolder",
        needed_path,
        "use an absolute path",
        "Where programs and their maps are kept: a folder on bpffs, this agent's alone.",
        _SERVICES,
        "DIR",
    ),
    Setting(
        "ebpfExternal",
        boolean,
        "use true or false",
        "What comes from outside is answered by eBPF too, at the node's uplinks.",
        _SERVICES,
    ),
    Setting(
        "staleSockets",
        one_of("udp", "all", "none"),
        "use udp, all or none",
        "Connected sockets that end when their endpoint goes, so that programs dial again (mode "
        "ebpf).",
        _SERVICES,
        "udp|all|none",
    ),
    Setting(
        "detectLocalMode",
        one_of("auto", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"),
        "use auto, ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
        "Who counts as a local pod; auto: by clusterCidr, else by the podCIDRs of all Nodes.",
        _SERVICES,
        "MODE",
    ),
    Setting(
        "clusterCidr",
        networks,
        "use CIDRs, such as 10.244.0.0/16",
        "The networks of all pods.",
        _SERVICES,
        "CIDRS",
    ),
    Setting(
        "podBridgeInterface",
        _LINK,
        "use a link's name",
        "The bridge that pods' packets come from (BridgeInterface).",
        _SERVICES,
        "LINK",
    ),
    Setting(
        "podInterfaceNamePrefix",
        _PREFIX,
        "use the beginning of links' names",
        "How the links that pods' packets come from begin (InterfaceNamePrefix).",
        _SERVICES,
        "PREFIX",
    ),
    Setting(
        "masqueradeAll",
        boolean,
        "use true or false",
        "Give the node's address to every client of a Service's cluster address.",
        _SERVICES,
    ),
    Setting(
        "nodeportAddresses",
        nodeport_addresses,
        "use primary, all, localhost, or CIDRs, at most 64",
        "Where NodePorts answer: CIDRs, or primary (our Node's InternalIPs), all, localhost (adds "
        "127.0.0.0/8).",
        _SERVICES,
        "LIST",
    ),
    Setting(
        "healthzBindAddress",
        host_port,
        _HOST_PORT,
        "Serve /healthz and /livez here.",
        _SERVICES,
        "ADDRESS:PORT",
    ),
    Setting(
        "metricsBindAddress",
        host_port,
        _HOST_PORT,
        "Serve /metrics, /proxyMode and /configz here.",
        _SERVICES,
        "ADDRESS:PORT",
    ),
    Setting(
        "takeOver",
        boolean,
        "use true or false",
        "Remove what a kube-proxy left in the kernel, once our own rules are in force.",
        _SERVICES,
    ),
    Setting(
        "conntrackMaxPerCore",
        whole(0, _MOST),
        _NUMBER,
        "Connections to track, at least, for each core (nf_conntrack_max; never lowered).",
        _CONNTRACK,
        "NUMBER",
    ),
    Setting(
        "conntrackMin",
        whole(0, _MOST),
        _NUMBER,
        "Connections to track, at least, on however few cores.",
        _CONNTRACK,
        "NUMBER",
    ),
    Setting(
        "conntrackTcpTimeoutEstablished",
        seconds,
        _SECONDS,
        "How long an idle TCP connection is remembered.",
        _CONNTRACK,
        "SECONDS",
    ),
    Setting(
        "conntrackTcpTimeoutCloseWait",
        seconds,
        _SECONDS,
        "How long a TCP connection in CLOSE_WAIT is remembered.",
        _CONNTRACK,
        "SECONDS",
    ),
    Setting(
        "conntrackTcpBeLiberal",
        boolean,
        "use true or false",
        "Let TCP packets out of their window pass as part of their connection.",
        _CONNTRACK,
    ),
    Setting(
        "conntrackUdpTimeout",
        seconds,
        _SECONDS,
        "How long UDP without an answer is remembered.",
        _CONNTRACK,
        "SECONDS",
    ),
    Setting(
        "conntrackUdpTimeoutStream",
        seconds,
        _SECONDS,
        "How long UDP in both directions is remembered.",
        _CONNTRACK,
        "SECONDS",
    ),
    Setting(
        "oomScoreAdj",
        whole(-1000, 1000),
        "use a whole number from -1000 to 1000",
        "How soon the kernel ends this process when memory runs out; 0 leaves it.",
        _SERVICES,
        "NUMBER",
    ),
)
