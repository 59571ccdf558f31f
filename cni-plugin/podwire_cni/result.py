"""What ADD answers, in the shape of each version; what CHECK reads out of prevResult.

| version        | difference                                  |
|----------------|---------------------------------------------|
| 1.1.0          | `interfaces[].mtu`                          |
| 1.0.0          | no `mtu`                                    |
| 0.3.0 to 0.4.0 | no `mtu`; `ips[].version` is "4" or "6"     |

Source: SPEC.md of each version, "ADD Success" or "Result".
"""

from collections.abc import Sequence

from podwire_cni.errors import CheckFailed
from podwire_cni.family import IPAddress, family_of, host_network
from podwire_cni.fields import JsonObject
from podwire_cni.plan import Link, Plan

_WITH_MTU = frozenset({"1.1.0"})
_WITH_FAMILY = frozenset({"0.3.0", "0.3.1", "0.4.0"})


def make_result(
    version: str,
    plan: Plan,
    addresses: Sequence[IPAddress],
    netns: str,
    previous: JsonObject | None = None,
) -> dict[str, object]:
    """The JSON object for an ADD that succeeded.

    previous: the result of the plugins before us. Its interfaces, addresses and routes
    come first, its other keys pass through; it has our version already (SPEC.md,
    "prevResult").
    """
    before = dict(previous or {})
    interfaces = _list(before, "interfaces")
    position = len(interfaces) + 1  # ours are the host's end, then the pod's
    ours = [
        _interface(version, plan.host, plan.mtu, ""),
        _interface(version, plan.pod, plan.mtu, netns),
    ]
    ips = [_ip(version, address, position) for address in addresses]
    routes = [_default_route(address) for address in addresses]
    return {
        **before,
        "cniVersion": version,
        "interfaces": interfaces + ours,
        "ips": _list(before, "ips") + ips,
        "routes": _list(before, "routes") + routes,
    }


def find_interface(previous: JsonObject, name: str) -> tuple[int, str]:
    """The position and hardware address of the pod's interface in prevResult.

    Raises CheckFailed when prevResult does not have it.
    """
    for position, interface in enumerate(_list(previous, "interfaces")):
        if not isinstance(interface, dict):
            continue
        if interface.get("name") == name and interface.get("sandbox"):
            return position, str(interface.get("mac", ""))
    raise CheckFailed(f"prevResult has no interface {name} in a sandbox")


def addresses_on(previous: JsonObject, position: int) -> set[str]:
    """The addresses, as CIDRs, that prevResult gives to the interface at a position."""
    return {
        str(ip.get("address"))
        for ip in _list(previous, "ips")
        if isinstance(ip, dict) and ip.get("interface") == position
    }


def _interface(version: str, link: Link, mtu: int, sandbox: str) -> dict[str, object]:
    interface: dict[str, object] = {"name": link.name, "mac": link.mac}
    if version in _WITH_MTU:
        interface["mtu"] = mtu
    # Absent means the host (SPEC.md); the empty string would say the same.
    if sandbox:
        interface["sandbox"] = sandbox
    return interface


def _ip(version: str, address: IPAddress, position: int) -> dict[str, object]:
    family = family_of(address)
    ip: dict[str, object] = {
        "interface": position,
        "address": str(host_network(address)),
        "gateway": str(family.gateway),
    }
    if version in _WITH_FAMILY:
        ip["version"] = str(family.number)
    return ip


def _default_route(address: IPAddress) -> dict[str, object]:
    family = family_of(address)
    return {"dst": str(family.everything), "gw": str(family.gateway)}


def _list(raw: JsonObject, key: str) -> list[object]:
    value = raw.get(key)
    return list(value) if isinstance(value, list) else []
