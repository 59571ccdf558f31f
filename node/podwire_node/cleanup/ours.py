"""What podwire put in force in this network namespace, and on this host.

    component   removed
    proxy       programs at sockets and uplinks, and the folder they are pinned in; tables ip and
                ip6 podwire-proxy
    policy      tables ip and ip6 podwire-policy
    cni         tables ip and ip6 podwire-guard, podwire-masquerade and podwire-host-ports, routes
                of protocol 112, link podwire-vxlan, and of the runtime's folders the conflist and
                the client, where they are ours

Pods' own links stay: a pod that runs would lose its network, and the runtime asks the plugin to
remove each. Kernel parameters stay as they are, others may rely on them; but route_localnet is
turned off where a rule of ours kept neighbours out of 127.0.0.0/8, before that rule goes.

Rules go before routes: with a route gone first, a packet would leave by another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec

from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import Table
from podwire_ebpf import attachments, uplink
from podwire_ebpf.place import Place, cgroup_root
from podwire_ebpf.plane import remove
from podwire_node.cleanup.rows import Outcome, Row, removed
from podwire_node.cni.files.conflist import NETWORK
from podwire_node.cni.files.install import CLIENT, CONFLIST
from podwire_node.host_ports.localhost import links_that_route_localhost, route_localhost
from podwire_node.kube_proxy.removal import delete_table, nft_tables
from podwire_node.routes.overlay import DEVICE
from podwire_node.routes.overlay_device import NameTakenError, RouteError
from podwire_node.routes.routing import Routing
from podwire_node.settings.values import Component
from podwire_node.sockets.earlier import attached_elsewhere, is_ours, uplinks_in_use
from podwire_node.sysctls import localhost_is_routed, stop_routing_localhost

TABLES_OF = {
    Component.POLICY: ("podwire-policy",),
    Component.CNI: ("podwire-guard", "podwire-masquerade", "podwire-host-ports"),
    Component.PROXY: ("podwire-proxy",),
}
#: Tables with a rule that keeps neighbours out of 127.0.0.0/8.
_NODEPORTS = Table(Family.IPV4, "podwire-proxy")
_HOST_PORTS = Table(Family.IPV4, "podwire-host-ports")
_MAX_CONFLIST = 64 * 1024
_MAX_CLIENT = 16 * 1024 * 1024
#: What the client says of itself, which no other plugin does.
_CLIENT_SAYS = b"podwire: hands CNI calls to the node's podwire agent"


def remove_ours(
    kernel: Kernel, components: Iterable[Component], folders: Folders, *, dry_run: bool
) -> Iterator[Row]:
    """Remove it; a row for each thing that there was."""
    asked = set(components)
    if Component.CNI in asked:
        yield from _conflist(folders, dry_run=dry_run)
    if Component.PROXY in asked:
        yield from _programs(folders, dry_run=dry_run)
    names = {name for each in asked for name in TABLES_OF[each]}
    yield from _tables(kernel, names, dry_run=dry_run)
    if Component.CNI in asked:
        yield from _routes(dry_run=dry_run)
        yield from _client(folders, dry_run=dry_run)


class Folders(msgspec.Struct, frozen=True):
    """The container runtime's: of configurations, of plugins. ebpf: of programs and their maps."""

    conf: Path
    bin: Path
    ebpf: Path


def _programs(folders: Folders, *, dry_run: bool) -> Iterator[Row]:
    """Before the tables: a socket that is not answered any more is nftables'.

    Filters at uplinks outlive their folder, as programs at cgroups outlive its name: each is looked
    for by itself.
    """
    place = Place(cgroup_root() or Path("/sys/fs/cgroup"), folders.ebpf)
    for link in uplinks_in_use():
        detach = partial(uplink.detach, link)
        yield removed("programs", f"of uplink {link}", detach, dry_run=dry_run)
    elsewhere = attached_elsewhere(place)
    if is_ours(place):
        yield removed("programs", str(place.folder), partial(remove, place), dry_run=dry_run)
    for each in elsewhere:
        detach_all = partial(attachments.remove, each)
        yield removed("programs", str(each), detach_all, dry_run=dry_run)


def _tables(kernel: Kernel, names: set[str], *, dry_run: bool) -> Iterator[Row]:
    try:
        there = nft_tables()
    except NftError as error:
        yield Row("table", ", ".join(sorted(names)), Outcome.FAILED, str(error))
        return
    guarding = set()
    for table, rows in (
        (_NODEPORTS, _localhost(kernel, dry_run=dry_run)),
        (_HOST_PORTS, _localhost_of_pods(dry_run=dry_run)),
    ):
        for row in rows if table.name in names else ():
            if row.outcome is Outcome.FAILED:
                guarding.add(table.key)
            yield row
    for key in there:
        if key in guarding:
            yield Row(
                "table", " ".join(key), Outcome.LEFT, "it keeps neighbours out of 127.0.0.0/8"
            )
        elif key[0] in {"ip", "ip6"} and key[1] in names:
            remove = partial(delete_table, kernel, key)
            yield removed("table", " ".join(key), remove, dry_run=dry_run)


def _localhost(kernel: Kernel, *, dry_run: bool) -> Iterator[Row]:
    """See the module; a guard that cannot be looked for counts as none."""
    try:
        guarded = (*_NODEPORTS.key, "chain", "guard-localhost") in kernel.read([_NODEPORTS])
    except NftError:
        return
    if guarded and localhost_is_routed():
        name = "net.ipv4.conf.all.route_localnet"
        yield removed("parameter", name, stop_routing_localhost, dry_run=dry_run)


def _localhost_of_pods(*, dry_run: bool) -> Iterator[Row]:
    """Where a hostPort led from localhost through a pod's link, which stays."""
    for link in links_that_route_localhost():
        stop = partial(route_localhost, link, allowed=False)
        yield removed("parameter", f"net.ipv4.conf.{link}.route_localnet", stop, dry_run=dry_run)


def _routes(*, dry_run: bool) -> Iterator[Row]:
    """The overlay's link last: its routes go with it, and would not be told of."""
    try:
        with closing(Routing()) as routing:
            link = None
            try:
                link = routing.overlay.read()
            except NameTakenError as error:
                yield Row("link", DEVICE, Outcome.LEFT, str(error))
            for route in routing.read(link.index if link else 0).routes.values():
                remove = partial(routing.remove, route)
                yield removed("route", str(route), remove, dry_run=dry_run)
            if link:
                yield removed(
                    "link", DEVICE, partial(routing.overlay.remove, link), dry_run=dry_run
                )
    except RouteError as error:
        yield Row("routes", "of protocol 112", Outcome.FAILED, str(error))


def _conflist(folders: Folders, *, dry_run: bool) -> Iterator[Row]:
    """First: a runtime that finds it would give pods networks that no one serves any more."""
    path = folders.conf / CONFLIST
    content = _content(path, _MAX_CONFLIST)
    if content is not None:
        yield _file(path, ours=_is_our_conflist(content), dry_run=dry_run)


def _client(folders: Folders, *, dry_run: bool) -> Iterator[Row]:
    path = folders.bin / CLIENT
    content = _content(path, _MAX_CLIENT)
    if content is not None:
        yield _file(path, ours=_CLIENT_SAYS in content, dry_run=dry_run)


def _file(path: Path, *, ours: bool, dry_run: bool) -> Row:
    if not ours:
        return Row("file", str(path), Outcome.LEFT, "it is not podwire's, or cannot be read")
    return removed("file", str(path), path.unlink, dry_run=dry_run)


def _is_our_conflist(content: bytes) -> bool:
    try:
        document = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return False
    if not isinstance(document, dict) or document.get("name") != NETWORK:
        return False
    plugins = document.get("plugins")
    return isinstance(plugins, list) and all(
        isinstance(each, dict) and each.get("type") in {"podwire", "podwire-cni"}
        for each in plugins
    )


def _content(path: Path, bound: int) -> bytes | None:
    """A file's bytes; None where there is none, and nothing where it is too large to be ours."""
    try:
        if not path.is_file() or path.stat().st_size > bound:
            return b"" if path.exists() or path.is_symlink() else None
        return path.read_bytes()
    except OSError:
        return b""
