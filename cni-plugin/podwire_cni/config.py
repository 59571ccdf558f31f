"""The network configuration on stdin, checked key by key.

Two readings of the same JSON. `Network` is what every command needs. `NetworkConfig` is
what ADD, CHECK and STATUS need on top. DEL and GC stop at the first: a pod must be able
to go although someone broke `ranges` since it came.

Unknown keys are tolerated everywhere (SPEC.md, "Network configuration format").
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from podwire_cni.attachment import Attachment
from podwire_cni.errors import BadConfig, BadJson
from podwire_cni.fields import JsonObject, integer, kind_of, listed, typed
from podwire_cni.pools import parse_ranges
from podwire_cni.ranges import AddressRange
from podwire_cni.runtime import Runtime, parse_runtime
from podwire_cni.spec import IDENTIFIER

MAXIMUM_BYTES = 1 << 20
MAXIMUM_PREVIOUS = 1 << 19
DEFAULT_STATE_DIR = "/run/podwire/cni"
DEFAULT_COOLDOWN = 30
# What the specification infers when cniVersion is absent; unsupported here.
INFERRED_VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class Network:
    """What every command reads: the network's name and where its leases are."""

    name: str
    state_dir: Path


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """The whole configuration.

    ranges: one or two, at most one of each family, in the operator's order; already narrowed
    to runtimeConfig.ipRanges.
    mtu: bytes, or None for the default-route interface's.
    cooldown: seconds a released address rests.
    previous: `prevResult` as it came, or None.
    runtime: what this pod asks for.
    """

    network: Network
    ranges: tuple[AddressRange, ...]
    mtu: int | None
    cooldown: int
    previous: JsonObject | None
    runtime: Runtime


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
        raise BadJson(f"configuration on stdin is {kind_of(raw)}, expected an object")
    return raw


def version_of(raw: JsonObject) -> str:
    """The configuration's cniVersion, inferred as the specification does when absent."""
    return typed(raw, "cniVersion", str, "a string") or INFERRED_VERSION


def parse_network(raw: JsonObject) -> Network:
    """Read what every command needs. Raises BadConfig that names the key."""
    name = typed(raw, "name", str, "a string")
    if not name or not IDENTIFIER.match(name):
        raise BadConfig(f"name: missing or invalid: {name!r}", f"must match {IDENTIFIER.pattern}")
    state_dir = Path(typed(raw, "stateDir", str, "a string") or DEFAULT_STATE_DIR)
    if not state_dir.is_absolute() or not str(state_dir).isprintable():
        raise BadConfig(f"stateDir: {str(state_dir)!r} is not an absolute path")
    return Network(name, state_dir)


def parse_config(raw: JsonObject, args: Mapping[str, str] | None = None) -> NetworkConfig:
    """Read the whole configuration. args: CNI_ARGS. Raises BadConfig that names the key."""
    return NetworkConfig(
        network=parse_network(raw),
        ranges=parse_ranges(raw),
        # 1280 is the least IPv6 allows (RFC 8200 5); 65535 the most a veth takes.
        mtu=integer(raw, "mtu", 1280, 65535),
        cooldown=_or(integer(raw, "cooldownSeconds", 0, 86400), DEFAULT_COOLDOWN),
        previous=previous_result(raw),
        runtime=parse_runtime(raw, args or {}),
    )


def previous_result(raw: JsonObject) -> JsonObject | None:
    """`prevResult` as it came, or None. Raises BadConfig unless its lists are lists.

    It is a part of the answer, which has its bound too: what could not be answered is refused here,
    and not when the pod is wired.
    """
    previous = typed(raw, "prevResult", dict, "an object")
    if previous and len(json.dumps(previous)) > MAXIMUM_PREVIOUS:
        raise BadConfig(f"prevResult: larger than {MAXIMUM_PREVIOUS} bytes, as it is answered")
    for key in ("interfaces", "ips", "routes"):
        if previous and previous.get(key) is not None:
            listed(f"prevResult.{key}", previous[key])
    return previous


def valid_attachments(raw: JsonObject, network: Network) -> frozenset[Attachment]:
    """The attachments that GC must keep.

    Early libcni named the key `cni.dev/attachments`, the specification names it
    `cni.dev/valid-attachments`, today's libcni sends both (containernetworking/cni#1101).
    An empty list collects everything. An absent key is BadConfig: a caller that forgot it
    must not unplug every pod of the node.
    """
    for key in ("cni.dev/valid-attachments", "cni.dev/attachments"):
        if (kept := raw.get(key)) is not None:
            return frozenset(_attachment(key, item, network) for item in listed(key, kept))
    raise BadConfig("cni.dev/valid-attachments: missing", "an empty list collects every attachment")


def _attachment(key: str, item: object, network: Network) -> Attachment:
    if isinstance(item, dict):
        container, interface = item.get("containerID"), item.get("ifname")
        if isinstance(container, str) and isinstance(interface, str):
            return Attachment(network.name, container, interface)
    raise BadConfig(f"{key}: {item!r} is not {{containerID, ifname}}")


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
