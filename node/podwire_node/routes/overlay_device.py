"""rtnetlink: the VXLAN device, its addresses, and the peers behind it.

Everything on the device is ours, and goes when no plan has it. A link of the same name that is
no VXLAN device is someone else's and never touched.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from podwire_core.family import Family, canonical_address, family_of
from podwire_node.routes.overlay import (
    DEVICE,
    Address,
    Device,
    Entry,
    EntryKey,
    Forward,
    Neighbour,
    key_of,
)

_PERMANENT = 0x80  # linux/neighbour.h: NUD_PERMANENT
_NODAD = 0x02  # linux/if_addr.h: IFA_F_NODAD; nobody else can have a podCIDR's address
_UP = 0x1  # linux/if.h: IFF_UP

#: Under /proc/sys/net, and why.
_SYSCTLS = {
    # The distribution may have switched IPv6 off for new links.
    f"ipv6/conf/{DEVICE}/disable_ipv6": "0",
    # No router is behind this link.
    f"ipv6/conf/{DEVICE}/accept_ra": "0",
    # No fe80:: address (IN6_ADDR_GEN_MODE_NONE): peers know each other by name.
    f"ipv6/conf/{DEVICE}/addr_gen_mode": "1",
    # Loose: while two nodes change their minds, one sends direct what the other wraps. The
    # kernel takes the larger of this and `all`, so 0 would not be loose where `all` is strict.
    f"ipv4/conf/{DEVICE}/rp_filter": "2",
}
_PROC = Path("/proc/sys/net")


class RouteError(Exception):
    """The kernel refused something, or could not be asked; the text names it and says why."""


class NameTakenError(RouteError):
    """Something that is not ours has the name of the overlay's device."""


@contextmanager
def told(what: str) -> Iterator[None]:
    """Name what was tried in a RouteError when the kernel refuses it or is not there to ask."""
    try:
        yield
    except NetlinkError as error:
        reason = error.args[1] if len(error.args) > 1 else str(error)
        raise RouteError(f"{what}: {reason}") from error
    except OSError as error:
        raise RouteError(f"{what}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class Found:
    """The device as it is, and its index."""

    index: int
    device: Device


class OverlayDevice:
    """The device of the network namespace that `ipr` was made in.

    Its settings under /proc/sys are those of the calling thread's namespace, the same one in
    an agent. Every method raises RouteError.
    """

    def __init__(self, ipr: IPRoute) -> None:
        self._ipr = ipr

    def read(self) -> Found | None:
        """The device, or None. Raises NameTakenError too."""
        try:
            (message,) = self._ipr.link("get", ifname=DEVICE)
        except NetlinkError as error:
            if error.code == errno.ENODEV:
                return None
            raise RouteError(f"link {DEVICE}: {error.args[-1]}") from error
        except OSError as error:
            raise RouteError(f"link {DEVICE}: {error.strerror or error}") from error
        kind = message.get(("linkinfo", "kind"))
        if kind != "vxlan":
            reason = f"is a {kind or 'physical'} link of someone else, which stays"
            raise NameTakenError(f"link {DEVICE}: {reason}; no overlay until it has another name")
        return Found(message["index"], _device(message))

    def make(self, want: Device) -> None:
        """Add the device, down and empty."""
        local = "vxlan_local" if family_of(want.local) is Family.IPV4 else "vxlan_local6"
        settings = {"vxlan_id": want.vni, "vxlan_port": want.port, local: want.local}
        with told(f"link add {want}"):
            try:
                self._ipr.link(
                    "add",
                    ifname=DEVICE,
                    kind="vxlan",
                    vxlan_learning=0,
                    address=want.mac,
                    mtu=want.mtu,
                    **settings,
                )
            except NetlinkError as error:
                if error.code != errno.EEXIST:
                    raise
                reason = "another VXLAN device has this id and port"
                raise RouteError(f"link add {want}: {reason}") from error

    def differs(self, found: Found, want: Device) -> bool:
        """Whether there is anything for adjust() to set."""
        return found.device != want or bool(_wrong_settings())

    def adjust(self, found: Found, want: Device) -> None:
        """Set what can be set in place.

        The settings come before the link is up, or it would take an fe80:: address.
        """
        with told(f"link set {want}"):
            if found.device != replace(want, up=found.device.up):
                changes = {"address": want.mac, "mtu": want.mtu, "ifalias": want.alias}
                self._ipr.link("set", index=found.index, **changes)
            unset = [path for path in _wrong_settings() if not _write(path)]
            self._ipr.link("set", index=found.index, state="up")
        if unset:
            raise RouteError(f"{_PROC / unset[0]} cannot be written; {DEVICE} may not work")

    def remove(self, found: Found) -> None:
        """Delete the device; what is on it and over it goes with it."""
        with told(f"link del {DEVICE}"):
            self._ipr.link("del", index=found.index)

    def entries(self, index: int) -> dict[EntryKey, Entry]:
        """What is on the device. Neighbours that the kernel found by itself are left out."""
        found: list[Entry] = []
        forwards: dict[str, list[str]] = {}
        with told(f"reading what is on {DEVICE}"):
            found += [
                Address(f"{canonical_address(message.get('address'))}/{message['prefixlen']}")
                for message in self._ipr.get_addr(index=index)
                if message["index"] == index
            ]
            for message in self._ipr.get_neighbours(ifindex=index):
                if message["ifindex"] == index and message["state"] & _PERMANENT:
                    mac = message.get("lladdr") or ""
                    found.append(Neighbour(canonical_address(message.get("dst")), mac))
            for message in self._ipr.fdb("dump", ifindex=index):
                if message["ifindex"] == index and message.get("dst"):
                    row = forwards.setdefault(message.get("lladdr"), [])
                    row.append(canonical_address(message.get("dst")))
        found += [Forward(mac, tuple(sorted(row))) for mac, row in forwards.items()]
        return {key_of(entry): entry for entry in found}

    def add(self, entry: Entry, index: int) -> None:
        """Add an entry."""
        with told(str(entry)):
            match entry:
                case Address(address):
                    self._ipr.addr("replace", flags=_NODAD, **_on(index, address))
                case Neighbour(address, mac):
                    known = {"lladdr": mac, "state": _PERMANENT}
                    self._ipr.neigh("replace", dst=address, ifindex=index, **known)
                case Forward(mac, addresses):
                    for address in addresses:
                        self._ipr.fdb("add", lladdr=mac, dst=address, ifindex=index)

    def remove_entry(self, entry: Entry, index: int) -> None:
        """Delete an entry."""
        with told(f"del {entry}"):
            match entry:
                case Address(address):
                    self._ipr.addr("del", **_on(index, address))
                case Neighbour(address, _):
                    self._ipr.neigh("del", dst=address, ifindex=index)
                case Forward(mac, addresses):
                    for address in addresses:
                        self._ipr.fdb("del", lladdr=mac, dst=address, ifindex=index)


def _on(index: int, address: str) -> dict[str, Any]:
    bare, _, length = address.partition("/")
    return {"index": index, "address": bare, "prefixlen": int(length)}


def _wrong_settings() -> list[str]:
    """Settings with another value; one that this kernel does not have cannot be wrong."""
    wrong: list[str] = []
    for path, value in _SYSCTLS.items():
        with told(str(_PROC / path)), suppress(FileNotFoundError):
            if (_PROC / path).read_text().strip() != value:
                wrong.append(path)
    return wrong


def _write(path: str) -> bool:
    try:
        (_PROC / path).write_text(_SYSCTLS[path])
    except OSError:
        return False
    return True


def _device(message: Any) -> Device:
    """A link message of kind vxlan."""
    settings = message.get(("linkinfo", "data"))
    others = ("group", "group6", "link", "collect_metadata", "proxy", "rsc", "l2miss", "l3miss")
    local = settings.get("vxlan_local") or settings.get("vxlan_local6") or ""
    return Device(
        vni=settings.get("vxlan_id"),
        port=settings.get("vxlan_port"),
        local=canonical_address(local) if local else "",
        mac=message.get("address"),
        mtu=message.get("mtu"),
        alias=message.get("ifalias") or "",
        plain=not any(settings.get(f"vxlan_{name}") for name in ("learning", *others)),
        up=bool(message["flags"] & _UP),
    )
