"""The agent's settings: what each is called, what it may be, and what it is for.

    key         in the YAML file         vxlanPort
    flag        on the command line      --vxlan-port
    variable    in the environment       PODWIRE_VXLAN_PORT

A row of SETTINGS and a field of AgentConfig make a setting; nothing else has to be told.
Where values come from is config.py's concern.
"""

from __future__ import annotations

from podwire_node.settings.proxy_rows import PROXY_ROWS
from podwire_node.settings.setting import Setting
from podwire_node.settings.values import (
    MAX_SOCKET_BYTES,
    boolean,
    components,
    matching,
    needed,
    needed_path,
    networks,
    one_of,
    path,
    socket,
    text,
    url,
    whole,
)

_WHO = "What and where"
_CLUSTER = "The cluster (--feed kubernetes)"
_ROUTES = "Routes (component cni)"
_PODS = "Pods (component cni)"
_POLICIES = "Policies (component policy)"
_SAYS = "What it says"

_ABSOLUTE = "use an absolute path"

SETTINGS = (
    Setting(
        "node",
        matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"),
        "is no node name: use a-z, 0-9, - and .",
        "Our node's name, as its Node object has it.",
        _WHO,
        also=("NODE_NAME",),
    ),
    Setting(
        "feed",
        needed,
        "use a folder, or kubernetes",
        "Where objects come from: a folder of manifests, watched; or a cluster's API server.",
        _WHO,
        "DIR|kubernetes",
    ),
    Setting(
        "components",
        components,
        "use one or more of cni, proxy and policy",
        "What to do: cni (routes, masquerade, pods' networks), proxy (Services), "
        "policy (NetworkPolicies).",
        _WHO,
        "LIST",
    ),
    Setting(
        "kubeconfig",
        text,
        "use a path",
        "The kubeconfig; else KUBECONFIG, ~/.kube/config, or the pod's account.",
        _CLUSTER,
        "FILE",
    ),
    Setting(
        "apiServer",
        url,
        "use https://HOST:PORT, without a user or a path",
        "The API server's address in place of the configuration's; it may not be a Service's.",
        _CLUSTER,
        "URL",
    ),
    Setting(
        "routing",
        one_of("auto", "direct", "vxlan"),
        "use auto, direct or vxlan",
        "How packets reach other nodes' pods: by a plain route, in VXLAN, or as each peer needs.",
        _ROUTES,
        "auto|direct|vxlan",
    ),
    Setting(
        "vxlanPort",
        whole(1, 65535),
        "use a whole number from 1 to 65535",
        "VXLAN's UDP port, the same on all nodes.",
        _ROUTES,
        "PORT",
    ),
    Setting(
        "vxlanId",
        whole(1, 2**24 - 1),
        "use a whole number from 1 to 16777215",
        "VXLAN's network identifier, the same on all nodes.",
        _ROUTES,
        "NUMBER",
    ),
    Setting(
        "mtu",
        whole(1280, 65535, 0),
        "use 0, or a whole number from 1280 to 65535",
        "Pods' MTU; 0 works it out.",
        _ROUTES,
        "BYTES",
    ),
    Setting(
        "masquerade",
        boolean,
        "use true or false",
        "Give the node's address to what pods send out of the cluster.",
        _ROUTES,
    ),
    Setting(
        "masqueradeExclude",
        networks,
        "use CIDRs, such as 192.168.0.0/16",
        "Destinations that see pods' own addresses, beside other pods.",
        _ROUTES,
        "CIDRS",
    ),
    Setting(
        "cniConfDir",
        path,
        _ABSOLUTE,
        "Write 10-podwire.conflist here once pods can have networks.",
        _PODS,
        "DIR",
    ),
    Setting(
        "cniBinDir",
        path,
        _ABSOLUTE,
        "Install the CNI client here.",
        _PODS,
        "DIR",
    ),
    Setting(
        "cniSocket",
        socket,
        f"use an absolute path of at most {MAX_SOCKET_BYTES} bytes",
        "Serve the CNI client at this UNIX socket.",
        _PODS,
        "PATH",
    ),
    Setting(
        "cniPlugin",
        one_of("podwire", "podwire-cni"),
        "use podwire or podwire-cni",
        "The conflist's plugin: podwire asks this agent, podwire-cni needs Python on the host.",
        _PODS,
        "podwire|podwire-cni",
    ),
    Setting(
        "cniStateDir",
        needed_path,
        _ABSOLUTE,
        "Where the plugin keeps its leases.",
        _PODS,
        "DIR",
    ),
    *PROXY_ROWS,
    Setting(
        "existingConnections",
        one_of("keep", "recheck"),
        "use keep or recheck",
        "Connections that a changed policy does not allow any more: they stay, or are cut.",
        _POLICIES,
        "keep|recheck",
    ),
    Setting(
        "controlSocket",
        socket,
        f'use an absolute path of at most {MAX_SOCKET_BYTES} bytes, or ""',
        "Answer `podwire observe`, `explain`, `policy audit`, `dump` and `doctor` at this UNIX "
        "socket (component policy, or proxyMode ebpf or auto).",
        _SAYS,
        "PATH",
    ),
    Setting(
        "status",
        text,
        "use a path",
        "Write the agent's status to this file as JSON, whenever it changes.",
        _SAYS,
        "FILE",
    ),
    Setting(
        "logFormat",
        one_of("text", "json"),
        "use text or json",
        "Log lines for people, or one JSON object a line.",
        _SAYS,
        "text|json",
    ),
    Setting(
        "logLevel",
        one_of("debug", "info", "warning", "error"),
        "use debug, info, warning or error",
        "How much to log.",
        _SAYS,
        "LEVEL",
    ),
)
