"""The network's configuration as container runtimes read it. Pure.

cniVersion is 1.0.0, which the Kubernetes documentation recommends and runtimes of today speak
(containerd since 1.6). 1.1.0 would let them ask STATUS every few seconds: while the agent
restarts it fails, the node becomes NotReady, and all its pods leave their Services although
every packet still flows. The plugin itself speaks both.

capabilities are what a runtime may ask of us beside a network: it passes on what a pod wants of
these and nothing else. hostPorts need someone who stays, so only the agent's plugin has them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

import msgspec

from podwire_core import typed
from podwire_node.cni.queue.queued_call import QUEUE_PATH_BYTES, queue_folder

CNI_VERSION = "1.0.0"
NETWORK = "podwire"
SERVED_PLUGIN = "podwire"  # the client; podwire-cni works without the agent

_CAPABILITIES = ("bandwidth", "ips", "mac", "ipRanges")
_SERVED = ("portMappings", *_CAPABILITIES)


class Entry(msgspec.Struct, frozen=True):
    """What a conflist of ours says of pods: their CIDRs, and their MTU, 0 where it says none."""

    ranges: tuple[str, ...] = ()
    mtu: int = 0


class _Written(msgspec.Struct):
    name: str = ""
    plugins: tuple[Entry, ...] = ()


def read_conflist(content: bytes) -> Entry:
    """What `conflist` wrote; nothing of what is no conflist of ours."""
    try:
        written = typed.decode(content, _Written)
    except msgspec.DecodeError:
        return Entry()
    return written.plugins[0] if written.name == NETWORK and written.plugins else Entry()


def conflist(
    pod_cidrs: Sequence[str], mtu: int, plugin: str, socket: Path | None, state_dir: Path
) -> bytes:
    """The conflist's bytes; equal arguments give equal bytes.

    pod_cidrs: the node's, one of a family, the one that decides a pod's first address first.
    mtu: bytes, 0 leaves it to the plugin.  plugin: the program's name in the runtime's folder
    of plugins.  socket: where the client finds the agent, None for its default.
    state_dir: the leases' folder, for a plugin that works without the agent; below it is the
    folder of DELs that wait for the agent.

    Raises ValueError that names the CIDR, or the folder.
    """
    families = [ipaddress.ip_network(cidr).version for cidr in pod_cidrs]
    if not families or len(set(families)) != len(families):
        raise ValueError(f"podCIDRs {list(pod_cidrs)}: expected one of IPv4, one of IPv6, or both")
    entry: dict[str, object] = {"type": plugin, "ranges": list(pod_cidrs)}
    if mtu > 0:
        entry["mtu"] = mtu
    entry["stateDir"] = str(state_dir)
    if socket is not None:
        entry["socket"] = str(socket)
    served = plugin == SERVED_PLUGIN
    if served:
        entry["queueDir"] = _queue(state_dir)
    entry["capabilities"] = dict.fromkeys(_SERVED if served else _CAPABILITIES, True)
    document = {"cniVersion": CNI_VERSION, "name": NETWORK, "plugins": [entry]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _queue(state_dir: Path) -> str:
    folder = str(queue_folder(state_dir))
    if len(folder.encode()) > QUEUE_PATH_BYTES:
        raise ValueError(
            f"{folder}: longer than {QUEUE_PATH_BYTES} bytes, which the client cannot use"
        )
    return folder
