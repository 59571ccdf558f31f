"""The verb `names`: what this agent knows of what maps hold. See names.py for its answers."""

from __future__ import annotations

from collections.abc import Iterator

from podwire_core.objects import Pod
from podwire_node.control.request import Request
from podwire_node.control.server import Verb
from podwire_node.control.view import View
from podwire_node.dump.names import FrontendName, LeftName, Name, NamespaceName, PlaceName, PodName
from podwire_node.observe.namespaces import Namespaces
from podwire_node.observe.sockets import Sockets

_FINISHED = {"Succeeded", "Failed"}  # another pod may have its address by now


def names_verb(view: View, sockets: Sockets | None, asked: str) -> Verb:
    """Answers with everything; what to show of it is the asker's.

    asked: proxyMode, "" without component proxy.
    """

    def names(_: Request) -> Iterator[Name]:
        yield _place(view.node, sockets, asked)
        if sockets is not None:
            yield from _services(view, sockets)
        pods = {
            address: str(pod.name)
            for pod in view.now().snapshot.all(Pod)
            if not pod.spec.host_network and pod.status.phase not in _FINISHED
            for address in pod.ips
        }
        yield from (PodName(address, pod) for address, pod in sorted(pods.items()))
        if sockets is not None:
            yield from _namespaces(view, sockets, pods)

    return names


def _place(node: str, sockets: Sockets | None, asked: str) -> PlaceName:
    if sockets is None:
        return PlaceName(node=node, asked=asked, backend="nftables" if asked else "")
    folder, backend = str(sockets.place.folder), sockets.backend
    why = sockets.why if backend == "nftables" else ""
    return PlaceName(folder, node, asked, backend, why)


def _services(view: View, sockets: Sockets) -> Iterator[Name]:
    labels, left = view.in_loop(lambda: (dict(sockets.labels), dict(sockets.left)))
    for key, label in sorted(labels.items()):
        yield FrontendName(key.address, key.port, key.protocol, label)
    for key, reason in sorted(left.items()):
        yield LeftName(key.address, key.port, key.protocol, labels.get(key, ""), reason)


def _namespaces(view: View, sockets: Sockets, pods: dict[str, str]) -> Iterator[Name]:
    own = view.in_loop(lambda: sockets.node_cookie)
    for cookie, addresses in sorted(Namespaces(sockets.reached).look().items()):
        who = next((pods[address] for address in addresses if address in pods), "")
        who = f"node {view.node}" if cookie == own else who
        if who:
            yield NamespaceName(cookie, who)
