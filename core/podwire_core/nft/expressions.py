"""What a rule looks at. Every expression has its nft spelling in `text`.

The tracer knows each field by the same spelling, with the family's word replaced by "ip"
(see tracer.FIELDS), so that one skeleton serves both families.
"""

from __future__ import annotations

from dataclasses import dataclass

from podwire_core.family import Family


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a packet or its connection has."""

    text: str


@dataclass(frozen=True, slots=True)
class Numgen:
    """A random number below `mod`, drawn anew for each evaluation (numgen random mod N)."""

    mod: int

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"numgen random mod {self.mod}"


@dataclass(frozen=True, slots=True)
class Concat:
    """Several expressions as one key, in nft's ` . ` notation."""

    parts: tuple[Field | Numgen, ...]

    @property
    def text(self) -> str:
        """nft's spelling."""
        return " . ".join(part.text for part in self.parts)


Expression = Field | Numgen | Concat


def concat(*parts: Field | Numgen) -> Concat:
    """The parts as one key."""
    return Concat(parts)


L4PROTO = Field("meta l4proto")
DPORT = Field("th dport")
CT_STATE = Field("ct state")
CT_STATUS = Field("ct status")
#: Needs a protocol in front of it in the same rule (`meta l4proto tcp …`).
ORIGINAL_DPORT = Field("ct original proto-dst")
#: Whether an address is the node's own: "local" when it is.
DADDR_TYPE = Field("fib daddr type")


def saddr(family: Family) -> Field:
    """The source address."""
    return Field(f"{family.nft} saddr")


def daddr(family: Family) -> Field:
    """The destination address."""
    return Field(f"{family.nft} daddr")


def dport(protocol: str) -> Field:
    """The destination port of one protocol: "tcp dport". Packets of others do not match."""
    return Field(f"{protocol} dport")


def original_daddr(family: Family) -> Field:
    """The destination address the client wrote, before any DNAT."""
    return Field(f"ct original {family.nft} daddr")
