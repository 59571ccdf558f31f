"""The network configuration on stdin, checked key by key.

Two readings of the same JSON. `Network` is what every command needs. `NetworkConfig` is
what ADD, CHECK and STATUS need on top. DEL and GC stop at the first: a pod must be able
to go although someone broke `ranges` since it came.

Unknown keys are tolerated everywhere (SPEC.md, "Network configuration format").
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from podwire_cni.attachment import Attachment
from podwire_cni.errors import BadConfig, BadJson
from podwire_cni.ranges import AddressRange
from podwire_cni.spec import IDENTIFIER

MAXIMUM_BYTES = 1 << 20
DEFAULT_STATE_DIR = "/run/podwire/cni"
DEFAULT_COOLDOWN = 30
# What the specification infers when cniVersion is absent; unsupported here.
INFERRED_VERSION = "0.1.0"

# Networks that no pod can live in: a range must not touch them.
_FORBIDDEN = {
    ipaddress.ip_network("0.0.0.0/8"): "unspecified",  # RFC 1122 3.2.1.3
    ipaddress.ip_network("127.0.0.0/8"): "loopback",
    ipaddress.ip_network("169.254.0.0/16"): "link-local",  # where the pods' gateway is
    ipaddress.ip_network("224.0.0.0/4"): "multicast",
    ipaddress.ip_network("::/128"): "unspecified",
    ipaddress.ip_network("::1/128"): "loopback",
    ipaddress.ip_network("fe80::/10"): "link-local",
    ipaddress.ip_network("ff00::/8"): "multicast",
}

JsonObject: TypeAlias = Mapping[str, object]
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Network:
    """What every command reads: the network's name and where its leases are."""

    name: str
    state_dir: Path


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The whole configuration.

    ranges: one or two, at most one of each family, in the operator's order.
    mtu: bytes, or None for the default-route interface's.
    cooldown: seconds a released address rests.
    previous: `prevResult` as it came, or None.
    """

    network: Network
    ranges: tuple[AddressRange, ...]
    mtu: int | None
    cooldown: int
    previous: JsonObject | None


def decode(stdin: bytes) -> JsonObject:
    """Decode the bytes on stdin. Raises BadJson unless they are one object of ≤ 1 MiB."""
    if len(stdin) > MAXIMUM_BYTES:
        raise BadJson(f"configuration on stdin is larger than {MAXIMUM_BYTES} bytes")
    try:
        raw = json.loads(stdin)
    except RecursionError:
        raise BadJson("configuration on stdin is nested too deeply") from None
    except ValueError as error:
        raise BadJson("configuration on stdin is not JSON", str(error)) from None
    if not isinstance(raw, dict):
        raise BadJson(f"configuration on stdin is {_kind(raw)}, expected an object")
    return raw


def version_of(raw: JsonObject) -> str:
    """The configuration's cniVersion, inferred as the specification does when absent."""
    return _typed(raw, "cniVersion", str, "a string") or INFERRED_VERSION


def parse_network(raw: JsonObject) -> Network:
    """Read what every command needs. Raises BadConfig that names the key."""
    name = _typed(raw, "name", str, "a string")
    if not name or not IDENTIFIER.match(name):
        raise BadConfig(f"name: missing or invalid: {name!r}", f"must match {IDENTIFIER.pattern}")
    state_dir = Path(_typed(raw, "stateDir", str, "a string") or DEFAULT_STATE_DIR)
    if not state_dir.is_absolute() or not str(state_dir).isprintable():
        raise BadConfig(f"stateDir: {str(state_dir)!r} is not an absolute path")
    return Network(name, state_dir)


def parse_config(raw: JsonObject) -> NetworkConfig:
    """Read the whole configuration. Raises BadConfig that names the key."""
    return NetworkConfig(
        network=parse_network(raw),
        ranges=_ranges(raw),
        # 1280 is the least IPv6 allows (RFC 8200 5); 65535 the most a veth takes.
        mtu=_integer(raw, "mtu", 1280, 65535),
        cooldown=_or(_integer(raw, "cooldownSeconds", 0, 86400), DEFAULT_COOLDOWN),
        previous=previous_result(raw),
    )


def previous_result(raw: JsonObject) -> JsonObject | None:
    """`prevResult` as it came, or None. Raises BadConfig unless its lists are lists."""
    previous = _typed(raw, "prevResult", dict, "an object")
    for key in ("interfaces", "ips", "routes"):
        if previous and previous.get(key) is not None:
            _list(f"prevResult.{key}", previous[key])
    return previous


def valid_attachments(raw: JsonObject, network: Network) -> frozenset[Attachment]:
    """The attachments that GC must keep.

    Early libcni named the key `cni.dev/attachments`, the specification names it
    `cni.dev/valid-attachments`, today's libcni sends both (containernetworking/cni#1101).
    An empty list collects everything. An absent key is BadConfig: a caller that forgot it
    must not unplug every pod of the node.
    """
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        if (listed := raw.get(key)) is not None:
            return frozenset(_attachment(key, item, network) for item in _list(key, listed))
    raise BadConfig("cni.dev/valid-attachments: missing", "an empty list collects every attachment")


def _ranges(raw: JsonObject) -> tuple[AddressRange, ...]:
    ranges = tuple(_range(item) for item in _list("ranges", raw.get("ranges")))
    families = [range_.family for range_ in ranges]
    if not ranges or len(set(families)) != len(families):
        raise BadConfig("ranges: expected one IPv4 range, one IPv6 range, or one of each")
    return ranges


def _range(item: object) -> AddressRange:
    # ip_network() would also take a number.
    if not isinstance(item, str) or "/" not in item:
        raise BadConfig(f"ranges: {item!r} is not a CIDR like '10.244.1.0/24'")
    try:
        range_ = AddressRange(ipaddress.ip_network(item))
    except ValueError as error:
        raise BadConfig(f"ranges: {error}") from None
    if range_.capacity < 1:
        raise BadConfig(f"ranges: {item} is too small to hold a pod")
    for network, what in _FORBIDDEN.items():
        if range_.network.overlaps(network):
            raise BadConfig(f"ranges: {item} holds {what} addresses, which no pod can have")
    return range_


def _attachment(key: str, item: object, network: Network) -> Attachment:
    if isinstance(item, dict):
        container, interface = item.get("containerID"), item.get("ifname")
        if isinstance(container, str) and isinstance(interface, str):
            return Attachment(network.name, container, interface)
    raise BadConfig(f"{key}: {item!r} is not {{containerID, ifname}}")


def _list(key: str, value: object) -> list[object]:
    if not isinstance(value, list):
        raise BadConfig(f"{key}: expected a list, found {_kind(value)}")
    return value


def _integer(raw: JsonObject, key: str, least: int, most: int) -> int | None:
    value = _typed(raw, key, int, "a whole number")
    # JSON's true is Python's 1.
    if isinstance(value, bool) or (value is not None and not least <= value <= most):
        raise BadConfig(f"{key}: {value!r} is not a whole number from {least} to {most}")
    return value


def _typed(raw: JsonObject, key: str, kind: type[_T], words: str) -> _T | None:
    value = raw.get(key)
    if value is not None and not isinstance(value, kind):
        raise BadConfig(f"{key}: expected {words}, found {_kind(value)}")
    return value


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _kind(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "a string"}
    return "nothing" if value is None else names.get(type(value), repr(value))
