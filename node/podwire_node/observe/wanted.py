"""Which records are asked for: what `podwire observe` sends, checked by the agent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from podwire_core import typed
from podwire_node.control.errors import ControlError
from podwire_node.observe.record import Endpoint, Record
from podwire_node.observe.ring import SIZE

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Words = Annotated[tuple[str, ...], msgspec.Meta(max_length=64)]

#: Hubble's words for what tells of packets and calls: policies' drops; translations at sockets.
Type = Literal["drop", "trace-sock"]
DROP: Type = "drop"
TRACE_SOCK: Type = "trace-sock"

#: What --protocol takes, and the fields of Layer4 that it means.
PROTOCOLS = {
    "tcp": ("TCP",),
    "udp": ("UDP",),
    "sctp": ("SCTP",),
    "icmp": ("ICMPv4", "ICMPv6"),
}


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record is wanted where each list that is not empty has something of either of its ends.

    last: at most so many of those that are there already. follow: then those that come.
    types: what tells of it; whichever: those of them that this agent has, else all are needed.
    verdicts: DROPPED, TRANSLATED. pods, services: `namespace/` and how its name begins, as Hubble's
    --pod and --service have it.
    """

    last: Annotated[int, msgspec.Meta(ge=0, le=SIZE)] = 20
    follow: bool = False
    types: Annotated[tuple[Type, ...], msgspec.Meta(min_length=1, max_length=2)] = (DROP,)
    whichever: bool = False
    verdicts: Words = ()
    pods: Words = ()
    services: Words = ()
    namespaces: Words = ()
    ports: Annotated[tuple[Port, ...], msgspec.Meta(max_length=64)] = ()
    protocols: Words = ()

    def matches(self, record: Record) -> bool:
        """Whether it is wanted."""
        ends = (record.source, record.destination)
        return (
            (not self.verdicts or record.verdict in self.verdicts)
            and (not self.pods or any(self._names(end) for end in ends))
            and (not self.services or self._has_service(record))
            and (not self.namespaces or any(end.namespace in self.namespaces for end in ends))
            and (not self.ports or self._has_port(record))
            and (not self.protocols or self._has_protocol(record))
        )

    def _names(self, end: Endpoint) -> bool:
        name = f"{end.namespace}/{end.pod_name}"
        return bool(end.pod_name) and any(name.startswith(each) for each in self.pods)

    def _has_service(self, record: Record) -> bool:
        found = record.destination_service
        name = f"{found.namespace}/{found.name}" if found else ""
        return any(name.startswith(each) for each in self.services)

    def _has_port(self, record: Record) -> bool:
        found = record.l4.ports if record.l4 else None
        return found is not None and not {found.source_port, found.destination_port}.isdisjoint(
            self.ports
        )

    def _has_protocol(self, record: Record) -> bool:
        fields = (field for each in self.protocols for field in PROTOCOLS.get(each, ()))
        return any(getattr(record.l4, field, None) is not None for field in fields)


def decode_wanted(fields: Mapping[str, object]) -> Wanted:
    """A request's fields. Raises ControlError that names the field."""
    try:
        return typed.convert(fields, Wanted)
    except msgspec.ValidationError as error:
        raise ControlError(f"observe: {error}") from error
