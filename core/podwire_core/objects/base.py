"""What all kinds have in common: names, metadata, canonical values, the API's spelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, NamedTuple

import msgspec
from msgspec.structs import force_setattr

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
# \Z and not $, which lets a final newline pass.
NAME_PATTERN = r"^[A-Za-z0-9]([-A-Za-z0-9_.:]*[A-Za-z0-9])?\Z"
LABEL_PATTERN = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?\Z"
#: An API object's name: at most 253 characters that are safe in paths, logs and comments.
ApiName = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN, max_length=253)]
#: A DNS label: a namespace, or a port's name; both may be left out.
Label = Annotated[str, msgspec.Meta(pattern=LABEL_PATTERN, max_length=63)]


def _api_spelling(name: str) -> str:
    """cluster_ips → clusterIPs, pod_cidrs → podCIDRs, api_version → apiVersion."""
    camel = re.sub(r"_([a-z])", lambda match: match.group(1).upper(), name)
    return re.sub(r"(?<=[a-z])(Ip|Cidr)(?=s?$)", lambda match: match.group(1).upper(), camel)


class ObjectName(NamedTuple):
    """Namespace (empty for cluster-wide kinds) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class Protocol(StrEnum):
    """Transport protocols that Services and policies may name."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"

    @property
    def nft(self) -> str:
        """nft's spelling."""
        return _NFT_PROTOCOLS[self]

    @property
    def number(self) -> int:
        """IANA's protocol number, as in the IP header."""
        return _NUMBERS[self]


_NFT_PROTOCOLS = {protocol: protocol.value.lower() for protocol in Protocol}
_NUMBERS = {Protocol.TCP: 6, Protocol.UDP: 17, Protocol.SCTP: 132}


class Struct(msgspec.Struct, frozen=True, rename=_api_spelling, omit_defaults=True, gc=False):
    """Base: frozen, in the API's spelling, defaults left out when written.

    gc=False: documents hold no cycles, and a hundred thousand endpoints are not looked through.
    """

    def _set_canonical(self, field: str, canonical: Callable[[str], str]) -> None:
        """Respell one str field, or each item of a tuple field; ValueError names the field."""
        value = getattr(self, field)
        try:
            if isinstance(value, str):
                force_setattr(self, field, canonical(value) if value else value)
            elif value is not None:
                force_setattr(self, field, tuple(canonical(item) for item in value))
        except ValueError as error:
            raise ValueError(f"`{_api_spelling(field.rstrip('_'))}`: {error}") from error


class Annotations(Struct, frozen=True):
    """The one annotation we read; the others, which may be kilobytes, are not even kept."""

    last_change_trigger_time: str = msgspec.field(
        default="", name="endpoints.kubernetes.io/last-change-trigger-time"
    )


class ObjectMeta(Struct, frozen=True):
    """The metadata we read."""

    name: ApiName
    namespace: Label = ""
    labels: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    annotations: Annotations | None = None

    def __post_init__(self) -> None:
        """Annotations of others are the same as none, also when objects are compared."""
        if self.annotations is not None and not self.annotations.last_change_trigger_time:
            force_setattr(self, "annotations", None)


class KubernetesObject(Struct, frozen=True):
    """What all kinds have in common. A kind says by `namespaced` where its name lives."""

    metadata: ObjectMeta

    @classmethod
    def namespaced(cls) -> bool:
        """Whether objects of this kind live in a namespace."""
        return True

    @property
    def name(self) -> ObjectName:
        """Namespace and name; a namespaced object that names no namespace is in `default`."""
        namespace = (self.metadata.namespace or "default") if self.namespaced() else ""
        return ObjectName(namespace, self.metadata.name)

    @property
    def labels(self) -> dict[str, str]:
        """The object's labels, empty when it has none."""
        return self.metadata.labels or {}


class ClusterObject(KubernetesObject, frozen=True):
    """A kind that lives outside namespaces."""

    @classmethod
    def namespaced(cls) -> bool:
        """Cluster-wide."""
        return False
