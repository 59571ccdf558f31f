"""What one pod asks for beyond the network's configuration: runtimeConfig, args and CNI_ARGS.

| asked for  | runtimeConfig   | else `args`    | else CNI_ARGS |
|------------|-----------------|----------------|---------------|
| addresses  | `ips`           | `cni.ips`      | `IP`          |
| MAC        | `mac`           | `cni.mac`      | `MAC`         |
| hostPorts  | `portMappings`  |                |               |
| bandwidth  | `bandwidth`     |                |               |
| ranges     | `ipRanges` (see `config`) | |               |

The first that says something is taken. `args` and CNI_ARGS are the older ways, which podman and
static configurations still use. Unknown keys ask for nothing: runtimes send every capability
they have, `dns` and `cgroupPath` among them.

Source: CONVENTIONS.md of the CNI specification, "Dynamic Plugin specific Fields", "args".
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass

from podwire_cni.errors import BadConfig
from podwire_cni.family import IPAddress
from podwire_cni.fields import JsonObject, listed, mapping, quoted, typed
from podwire_cni.limits import Bandwidth, parse_bandwidth
from podwire_cni.ports import PortMapping, parse_ports

_MOST_ADDRESSES = 8  # one of each family is what a pod can have; a list may repeat itself
_MAC = re.compile(r"([0-9a-f]{2})" + r":([0-9a-f]{2})" * 5 + r"\Z")


@dataclass(frozen=True, slots=True)
class Runtime:
    """One pod's wishes, checked by themselves; whether an address can be had is the leases'.

    addresses: at most one of each family.  mac: `02:34:9a:9c:cd:51`, or "" for one of ours.
    """

    ports: tuple[PortMapping, ...] = ()
    bandwidth: Bandwidth | None = None
    addresses: tuple[IPAddress, ...] = ()
    mac: str = ""


def parse_runtime(raw: JsonObject, args: Mapping[str, str]) -> Runtime:
    """Read a configuration's wishes. args: CNI_ARGS. Raises BadConfig that names the key."""
    wishes = mapping(raw, "runtimeConfig")
    older = mapping(mapping(raw, "args"), "cni", "args.")
    ports = wishes.get("portMappings")
    return Runtime(
        ports=parse_ports(ports) if ports is not None else (),
        bandwidth=parse_bandwidth(mapping(wishes, "bandwidth", "runtimeConfig.")),
        addresses=_addresses(wishes, older, args),
        mac=_mac(wishes, older, args),
    )


def _addresses(
    wishes: JsonObject, older: JsonObject, args: Mapping[str, str]
) -> tuple[IPAddress, ...]:
    for key, value in (
        ("runtimeConfig.ips", wishes.get("ips")),
        ("args.cni.ips", older.get("ips")),
        ("CNI_ARGS: IP", [args["IP"]] if args.get("IP") else None),
    ):
        if value:
            items = listed(key, value, _MOST_ADDRESSES)
            found = dict.fromkeys(_address(f"{key}[{n}]", item) for n, item in enumerate(items))
            if len({address.version for address in found}) != len(found):
                raise BadConfig(f"{key}: a pod has at most one address of each family")
            return tuple(found)
    return ()


def _address(key: str, item: object) -> IPAddress:
    """An address, whose prefix length may be told: a pod's is /32 or /128 all the same."""
    # ip_interface() would also take a number, and drop an IPv6 zone.
    text = item if isinstance(item, str) and "%" not in item else ""
    try:
        return ipaddress.ip_interface(text).ip
    except ValueError:
        raise BadConfig(f"{key}: {quoted(item)} is not an address") from None


def _mac(wishes: JsonObject, older: JsonObject, args: Mapping[str, str]) -> str:
    for key, raw, name in (
        ("runtimeConfig.", wishes, "mac"),
        ("args.cni.", older, "mac"),
        ("CNI_ARGS: ", args, "MAC"),
    ):
        if text := typed(raw, name, str, "a string", key):
            return _canonical_mac(f"{key}{name}", text)
    return ""


def _canonical_mac(key: str, text: str) -> str:
    mac = text.lower().replace("-", ":")
    if not _MAC.match(mac):
        raise BadConfig(f"{key}: {quoted(text)} is not a hardware address like 02:34:9a:9c:cd:51")
    # The kernel refuses both (is_valid_ether_addr, linux/etherdevice.h).
    if int(mac[:2], base=16) & 1 or set(mac) == set("0:"):
        raise BadConfig(f"{key}: {mac} is a group's or nobody's, and no interface can have it")
    return mac
