"""A node as a member of a real cluster: what its kubelet is made of.

    ApiSource     pods in, status out           NodeKeeper      the Node and its lease
    CniClient     with what is installed,       KubeletServer   logs, one a node address
                  once the agent is ready
    ServiceAccounts   tokens for pods

Certificates and kubeconfigs are files that the control plane's maker left in kubernetes/.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, closing
from pathlib import Path

from podwire_core.feed.api_server import ApiServer
from podwire_lab.folders import Folders
from podwire_lab.kubelet.accounts import ServiceAccounts
from podwire_lab.kubelet.agent_state import AgentState, GuardedNetwork
from podwire_lab.kubelet.api_source import ApiSource
from podwire_lab.kubelet.cni_client import CniClient
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.log_reader import LogReader
from podwire_lab.kubelet.networks import InstalledNetwork
from podwire_lab.kubelet.node_keeper import NodeKeeper
from podwire_lab.kubelet.node_object import PORT
from podwire_lab.kubelet.node_pods import NodePods
from podwire_lab.kubelet.requests import Requests
from podwire_lab.kubelet.sandbox import Place
from podwire_lab.kubelet.server import Certificates, KubeletServer, Logs
from podwire_lab.kubelet.source import ReportFiles
from podwire_lab.machine import daemons
from podwire_lab.topology import SERVICES_V4, Lab, LabNode

#: Where a cluster's nodes have their plugins.
_BIN = Path("/opt/cni/bin")

_log = logging.getLogger(__name__)


async def serve(lab: Lab, node: LabNode) -> None:
    """Be the node's kubelet until SIGTERM. Raises FeedError, OSError for what is not there."""
    folders, clock = Folders.of(lab.name), Clock()
    home, keys = folders.node(node.name), folders.kubernetes
    server = ApiServer.connect(keys / f"{node.name}.kubeconfig")
    with ExitStack() as stack:
        network = stack.enter_context(closing(InstalledNetwork(home / "cni-conf")))
        agent = stack.enter_context(closing(AgentState(daemons.agent_status(lab, node))))
        files = ReportFiles(folders.reports / node.name)
        requests = stack.enter_context(closing(Requests(server)))
        source = ApiSource(server, requests, node, files, clock)
        stack.enter_context(closing(source))
        guarded = GuardedNetwork(network, agent, node.name)
        cni = CniClient(guarded, home / "cni-memory", home / "cni-bin", _BIN)
        accounts = ServiceAccounts(requests, keys / "ca.crt", clock)
        pods = NodePods(Place(lab, node, cni, _environment(), accounts), source, clock)
        _listen(node, folders, LogReader(folders, pods).read)
        others = [NodeKeeper(requests, node, network, clock).keep()]
        others += [accounts.keep_fresh(pods.accounts)]
        tasks = [asyncio.create_task(each) for each in others]
        for task in tasks:
            task.add_done_callback(_say_why_it_ended)
        try:
            await pods.run()
        finally:
            for task in tasks:
                task.cancel()


def _say_why_it_ended(task: asyncio.Task[None]) -> None:
    """What fails beside the pods ends no pods, and is not lost."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("the kubelet goes on without what failed", exc_info=error)


def _listen(node: LabNode, folders: Folders, read: Logs) -> None:
    """Serve logs; a pod on the node's own network may have taken the port, which ends no pods."""
    keys = folders.kubernetes
    certificates = Certificates(
        keys / f"{node.name}.crt", keys / f"{node.name}.key", keys / "ca.crt"
    )
    for address in node.ips:
        try:
            KubeletServer(address, PORT, certificates, read).start()
        except OSError as error:
            _log.error("`kubectl logs` is not served at %s port %d: %s", address, PORT, error)


def _environment() -> dict[str, str]:
    """Where programs in pods find the API server: the first address of the Services' range."""
    return {"KUBERNETES_SERVICE_HOST": str(SERVICES_V4[1]), "KUBERNETES_SERVICE_PORT": "443"}
