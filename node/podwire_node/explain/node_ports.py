"""A node's address that is dialled at a Service's nodePort: who answers, and what they see. Pure.

    client ─► NODE:nodePort ─► the node sends it to an endpoint
                               of its own: the client's address stays
                               elsewhere: it comes from the node's address (masquerade), unless
                               externalTrafficPolicy is Local, which has no endpoints elsewhere

Before it is at that node it goes to NODE:nodePort, which is what the policies of a client on
another node judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from podwire_core.objects import Node, Service, ServicePort
from podwire_core.snapshot import Snapshot
from podwire_node.explain.question import Question, QuestionError
from podwire_proxy.endpoints import Endpoints as Lists
from podwire_proxy.endpoints import Place
from podwire_proxy.frontend import Backend


class NodePort(NamedTuple):
    """A port of a Service at a node's address."""

    service: Service
    port: ServicePort
    node: Node
    address: str

    @property
    def place(self) -> Place:
        """Where the endpoint is chosen."""
        return Place(self.node.metadata.name, self.node.zone, self.node.internal_ips)

    def backends(self, lists: Lists, client_node: str) -> Sequence[Backend]:
        """Who may answer a client of that node, "" of no node. Raises QuestionError for nobody.

        The policy Local is about the world: a node sends its own pods to any endpoint.
        """
        local = self.service.spec.external_traffic_policy == "Local"
        found = lists.local if local and client_node != self.place.node else lists.cluster
        if not found:
            where = f" on {self.place.node}" if local else ""
            raise QuestionError(
                f"Service {self.service.name} has no endpoint{where}: what dials it there gets "
                "nowhere, whatever policies say"
            )
        return sorted(found)


def node_port(snapshot: Snapshot, question: Question) -> NodePort | None:
    """The nodePort that is dialled, if it is one."""
    address, number = question.destination, question.port
    if not isinstance(address, str) or not isinstance(number, int):
        return None
    node = next((node for node in snapshot.all(Node) if address in node.internal_ips), None)
    if node is None:
        return None
    for service in snapshot.all(Service):
        for port in service.spec.ports or ():
            if port.node_port == number and question.protocol in {None, port.protocol}:
                return NodePort(service, port, node, address)
    return None
