"""The real kube-proxy on a node, in place of our Services: one process, one configuration file.

It runs in the node's namespace and serves what our agent would: the agent beside it is told
to leave Services alone (`--components cni,policy`).

Source: kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1.
"""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any

from podwire_core.files import write_json
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import programs
from podwire_lab.kubernetes.credentials import kubeconfig
from podwire_lab.kubernetes.plane import cluster_cidrs
from podwire_lab.machine import daemons, namespaces, processes
from podwire_lab.topology import Lab, LabNode, Proxy

_MODES = {Proxy.KUBE_PROXY: "nftables", Proxy.KUBE_PROXY_IPTABLES: "iptables"}
_HEALTH_PORT, _METRICS_PORT = 10256, 10249
_PATIENCE_S = 1.0


def start(lab: Lab, node: LabNode) -> int:
    """A node's kube-proxy; its process id. Raises ProgramsMissing, OSError."""
    program = programs.folder(("kube-proxy",)) / "kube-proxy"
    file = Folders.of(lab.name).node(node.name) / "kube-proxy.json"
    write_json(file, configuration(lab, node))
    return daemons.start(
        (str(program), f"--config={file}"), node.netns, _role(lab, node), log_of(lab, node)
    )


def configuration(lab: Lab, node: LabNode) -> dict[str, Any]:
    """Its KubeProxyConfiguration. Raises KeyError for a lab that is served by podwire.

    Conntrack's zeros: its sysctls are the machine's and not a namespace's, so they are left
    as they are.
    """
    leave = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": _MODES[lab.proxy],
        "clientConnection": {"kubeconfig": str(kubeconfig(lab, "kube-proxy"))},
        "hostnameOverride": node.name,
        "clusterCIDR": ",".join(cluster_cidrs()),
        "conntrack": leave,
        "healthzBindAddress": f"127.0.0.1:{_HEALTH_PORT}",
        "metricsBindAddress": f"127.0.0.1:{_METRICS_PORT}",
    }


def log_of(lab: Lab, node: LabNode) -> Path:
    """Where it writes what it says."""
    return Folders.of(lab.name).node(node.name) / "kube-proxy.log"


def pid(lab: Lab, node: LabNode) -> int:
    """Its process id; 0 when it does not run."""
    return processes.marked(processes.ROLE).get(_role(lab, node), 0)


def serves(node: LabNode) -> bool:
    """Whether it says itself that the kernel has everything it was told."""

    def ask() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", _HEALTH_PORT, timeout=_PATIENCE_S)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == http.HTTPStatus.OK
        finally:
            connection.close()

    try:
        return namespaces.inside(node.netns, ask)
    except (OSError, http.client.HTTPException):
        return False


def _role(lab: Lab, node: LabNode) -> str:
    return f"{lab.name}/kube-proxy/{node.name}"
