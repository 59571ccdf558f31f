"""The agent's settings: what each is called, what it may be, and what it is for.

    key         in the YAML file         vxlanPort
    flag        on the command line      --vxlan-port
    variable    in the environment       PODWIRE_VXLAN_PORT

A row of SETTINGS and a field of AgentConfig make a setting; nothing else has to be told.
Where values come from is config.py's concern.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from podwire_node.settings.values import (
    MAX_SOCKET_BYTES,
    Component,
    Reader,
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

#: The feed that is no folder.
CLUSTER = "kubernetes"


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The agent's settings, checked. SETTINGS says what each is for.

    Paths and names are "" where nothing was asked for; mtu is 0 where it is to be worked out.
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


@dataclass(frozen=True)
class Setting:
    """One row: its key, how it is read, what it may be and what it is for."""

    key: str
    read: Reader
    allowed: str
    purpose: str
    group: str
    metavar: str = "TEXT"
    also: tuple[str, ...] = ()  # further environment variables

    @property
    def words(self) -> str:
        """vxlanPort → vxlan_port: the field of AgentConfig."""
        return re.sub(r"([A-Z])", lambda match: f"_{match[1].lower()}", self.key)

    @property
    def flag(self) -> str:
        """vxlanPort → --vxlan-port."""
        return f"--{self.words.replace('_', '-')}"

    @property
    def variables(self) -> tuple[str, ...]:
        """vxlanPort → PODWIRE_VXLAN_PORT, and what else is read; the first that is set counts."""
        return (f"PODWIRE_{self.words.upper()}", *self.also)

    @property
    def default(self) -> object:
        """The value where no one gave one; msgspec.NODEFAULT where someone has to."""
        return _DEFAULTS[self.words]


_DEFAULTS = {row.name: row.default for row in msgspec.structs.fields(AgentConfig)}

# -------------------------------------------------------------------------------- rows

_WHO = "What and where"
_CLUSTER = "The cluster (--feed kubernetes)"
_ROUTES = "Routes (component cni)"
_PODS = "Pods (component cni)"
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


def contradictions(config: AgentConfig) -> Sequence[str]:
    """Settings that are fine alone and not together, as sentences."""
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
    return found
