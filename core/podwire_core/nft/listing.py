"""What libnftables lists (its JSON, schema 1) as keys and fingerprints, to compare with ours.

Only what keys and fingerprints need is read: names, hooks, comments, elements. Anything in
our table that we would never make keeps a fingerprint of its own, so it shows as a
difference and goes.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from podwire_core.nft.datatypes import PROTOCOLS
from podwire_core.nft.objects import Key, State, element_fingerprint


def state_of(listing: Iterable[dict[str, Any]]) -> State:
    """The state of the tables in one listing (the array under "nftables")."""
    state: State = {}
    rules: dict[Key, list[str]] = {}
    for row in listing:
        noun, body = next(iter(row.items()))
        if noun == "table":
            state[body["family"], body["name"]] = " ".join(body.get("flags", ()))
        elif noun == "chain":
            state[_key(body, "chain", body["name"])] = _hook(body)
        elif noun == "rule":
            rules.setdefault(_key(body, "chain", body["chain"]), []).append(
                body.get("comment", "?")
            )
        elif noun in {"set", "map"}:
            state[_key(body, "set", body["name"])] = body.get("comment", "?")
            if "timeout" not in body.get("flags", ()):  # else they are entries: see nft.entries
                state.update(_elements(body))
    for key, comments in rules.items():
        state[key] = "\n".join([state[key], *comments])
    return state


def _key(body: dict[str, Any], noun: str, name: str) -> Key:
    return (body["family"], body["table"], noun, name)


def _hook(chain: dict[str, Any]) -> str:
    if "hook" not in chain:
        return ""
    return f"{chain['type']}/{chain['hook']}/{chain['prio']}/{chain.get('policy', 'accept')}"


def _elements(body: dict[str, Any]) -> Iterable[tuple[Key, str]]:
    types = body["type"] if isinstance(body["type"], list) else [body["type"]]
    protocol_at = [index for index, name in enumerate(types) if name == "inet_proto"]
    for row in body.get("elem", ()):
        wrapped, data = row if "map" in body else (row, None)
        element = wrapped["elem"] if isinstance(wrapped, dict) and "elem" in wrapped else None
        parts = _parts(element["val"] if element else wrapped)
        for index in protocol_at:
            parts[index] = _protocol(parts[index])
        comment = element.get("comment", "") if element else ""
        key = (*_key(body, "element", body["name"]), " . ".join(parts))
        yield key, element_fingerprint(_data(data), comment)


def _parts(value: Any) -> list[str]:
    """{"concat": [a, b]} or a single value, each part as we write it."""
    values = value["concat"] if isinstance(value, dict) and "concat" in value else [value]
    return [_part(each) for each in values]


def _part(value: Any) -> str:
    if isinstance(value, dict) and "prefix" in value:
        return f"{value['prefix']['addr']}/{value['prefix']['len']}"
    if isinstance(value, dict) and "range" in value:
        return f"{value['range'][0]}-{value['range'][1]}"
    return str(value)


def _protocol(part: str) -> str:
    """Ours by name, which a host without /etc/protocols lists as numbers; others by number."""
    if part.isdigit():
        return PROTOCOLS.get(int(part), part)
    try:
        return part if part in PROTOCOLS.values() else str(socket.getprotobyname(part))
    except OSError:
        return part


def _data(value: Any) -> str:
    """A map's value: a verdict, or concatenated values."""
    if value is None:
        return ""
    if isinstance(value, dict) and "concat" not in value and len(value) == 1:
        kind, body = next(iter(value.items()))
        if kind in {"goto", "jump"}:
            return f"{kind} {body['target']}"
        if kind in {"accept", "drop", "return", "continue"}:
            return str(kind)
    return " . ".join(_parts(value))
