"""Who gets which certificate, as files of Folders.kubernetes (0700), each 0600.

ca.crt                          the authority; its key is forgotten when all is signed
apiserver.crt, .key             what the API server shows
kubelet-client.crt, .key        what it shows to kubelets
sa.key, sa.pub                  what service account tokens are signed with
admin.kubeconfig                system:masters, for people and for the lab itself
controller-manager.kubeconfig, scheduler.kubeconfig, kube-proxy.kubeconfig
agent.kubeconfig                the identity of the agents' ServiceAccount
NODE.kubeconfig                 system:node:NODE, of group system:nodes
NODE.crt, NODE.key              what the node's kubelet shows
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import msgspec

from podwire_core.files import write_whole
from podwire_lab.folders import Folders
from podwire_lab.kubernetes.certificates import Authority, Pair, key_pair
from podwire_lab.topology import SERVICES_V4, SERVICES_V6, Lab

PORT = 6443
#: Users that are not named after a node: kubeconfig, user name, groups.
#: The agents' is what the API server calls a ServiceAccount, so that roles are bound to it
#: here as they are where it is one.
AGENT_ACCOUNT = ("kube-system", "podwire-lab")
_USERS = {
    "admin": ("podwire-admin", ("system:masters",)),
    "controller-manager": ("system:kube-controller-manager", ()),
    "scheduler": ("system:kube-scheduler", ()),
    "kube-proxy": ("system:kube-proxy", ("system:node-proxier",)),
    "agent": (
        "system:serviceaccount:" + ":".join(AGENT_ACCOUNT),
        ("system:serviceaccounts", f"system:serviceaccounts:{AGENT_ACCOUNT[0]}"),
    ),
}


def server_url(lab: Lab) -> str:
    """Where the API server is for everyone: the fabric's own address."""
    return f"https://{lab.gateways[0]}:{PORT}"


def server_names(lab: Lab) -> tuple[str, ...]:
    """Every name and address that the API server is reached by."""
    service = ("kubernetes", "default", "svc", "cluster", "local")
    names = [".".join(service[:length]) for length in (1, 2, 3, 5)]
    first = [str(network[1]) for network in (SERVICES_V4, SERVICES_V6)]
    return (*lab.gateways, "127.0.0.1", "::1", *first, "localhost", *names)


def write(lab: Lab) -> None:
    """Make all of it. The folder is the lab's own, 0700."""
    folder = Folders.of(lab.name).kubernetes
    folder.mkdir(mode=0o700)
    for name, content in _files(lab):
        write_whole(folder / name, content)


def kubeconfig(lab: Lab, who: str) -> Path:
    """A kubeconfig of the table above: `admin`, `agent`, a node's name."""
    return Folders.of(lab.name).kubernetes / f"{who}.kubeconfig"


def _files(lab: Lab) -> Iterator[tuple[str, bytes]]:
    authority = Authority(f"podwire lab {lab.name}")
    ca, url = authority.certificate, server_url(lab)
    yield "ca.crt", ca
    yield from _pair("apiserver", authority.server("kube-apiserver", server_names(lab)))
    yield from _pair("kubelet-client", authority.client("kube-apiserver-kubelet-client"))
    yield from zip(("sa.key", "sa.pub"), key_pair(), strict=True)
    for name, (user, groups) in _USERS.items():
        yield f"{name}.kubeconfig", render(url, ca, user, authority.client(user, groups))
    for node in lab.nodes:
        user = f"system:node:{node.name}"
        client = authority.client(user, ("system:nodes",))
        yield f"{node.name}.kubeconfig", render(url, ca, user, client)
        addresses = [str(ip_address(ip)) for ip in node.ips]
        yield from _pair(node.name, authority.server(user, (node.name, *addresses)))


def _pair(name: str, pair: Pair) -> Iterator[tuple[str, bytes]]:
    yield f"{name}.crt", pair.certificate
    yield f"{name}.key", pair.key


def render(url: str, ca: bytes, user: str, pair: Pair) -> bytes:
    """A kubeconfig that holds everything it needs; JSON, which is YAML."""
    cluster = {"server": url, "certificate-authority-data": _data(ca)}
    credentials = {
        "client-certificate-data": _data(pair.certificate),
        "client-key-data": _data(pair.key),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "podwire", "cluster": cluster}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "podwire", "context": {"cluster": "podwire", "user": user}}],
        "current-context": "podwire",
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
