"""A node's kubelet, as a process: it keeps the pods of its node, and says how they stand.

    python -m podwire_lab.kubelet.runner --lab NAME --node NODE      (inside the node's namespace)

Where there is a real control plane it is a member of that cluster (member), else it reads
the lab's own objects/ and writes reports/NODE/.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import ExitStack, closing

import click

from podwire_lab.folders import Folders
from podwire_lab.kubelet.agent_state import AgentState, GuardedNetwork
from podwire_lab.kubelet.cni_client import CniClient
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.member import serve as serve_cluster
from podwire_lab.kubelet.networks import GivenNetwork
from podwire_lab.kubelet.node_pods import NodePods
from podwire_lab.kubelet.sandbox import Place
from podwire_lab.kubelet.source import FolderSource, ReportFiles
from podwire_lab.machine import daemons
from podwire_lab.topology import Lab, LabNode


async def _serve_folder(lab: Lab, node: LabNode) -> None:
    folders = Folders.of(lab.name)
    home = folders.node(node.name)
    files = ReportFiles(folders.reports / node.name)
    with ExitStack() as stack:
        agent = stack.enter_context(closing(AgentState(daemons.agent_status(lab, node))))
        source = FolderSource(folders.objects, files, node.name)
        stack.enter_context(closing(source))
        network = GuardedNetwork(GivenNetwork(node, home / "cni"), agent, node.name)
        cni = CniClient(network, home / "cni-memory")
        await NodePods(Place(lab, node, cni), source, Clock()).run()


@click.command()
@click.option("--lab", "lab_name", required=True, help="The lab's name.")
@click.option("--node", "node_name", required=True, help="The node's name in the lab.")
def main(lab_name: str, node_name: str) -> None:
    """Keep the pods of one node. `podwire lab up` starts it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)
    lab = Folders.of(lab_name).load()
    serve = serve_cluster if lab.kubernetes else _serve_folder
    asyncio.run(serve(lab, lab.node(node_name)))


if __name__ == "__main__":
    main()
