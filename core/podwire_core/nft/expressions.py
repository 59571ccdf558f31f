"""What a rule looks at. Every expression has its nft spelling in `text`.

The tracer knows each field by the same spelling, with the family's word replaced by "ip"
(see tracer.FIELDS), so that one skeleton serves both families.
"""

from __future__ import annotations

from dataclasses import dataclass

from podwire_core.family import Family

_NUMBERS = 1 << 32  # how many numbers numgen knows
_WIDTHS = {"ip6 saddr": 16, "ip6 daddr": 16, "meta iifname": 16}  # bytes, where they are not four


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a packet or its connection has."""

    text: str


@dataclass(frozen=True, slots=True)
class Numgen:
    """A random number below `mod`, plus `offset`, drawn anew for each evaluation."""

    mod: int
    offset: int = 0

    def __post_init__(self) -> None:
        if self.mod < 1 or self.offset < 0 or self.offset + self.mod > _NUMBERS:
            raise ValueError(f"numgen of 32 bits with mod {self.mod} offset {self.offset}")

    @property
    def text(self) -> str:
        """nft's spelling."""
        offset = f" offset {self.offset}" if self.offset else ""
        return f"numgen random mod {self.mod}{offset}"


def constant(value: int) -> Numgen:
    """A fixed number of 32 bits as a part of a key.

    nft takes no literal in a concatenation that is looked up; a random number below one, plus
    an offset, is one by another name.
    """
    return Numgen(1, value)


@dataclass(frozen=True, slots=True)
class Jhash:
    """A number of 32 bits that stands for a field (jhash … seed N); others may have the same."""

    field: Field
    seed: int

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"jhash {self.field.text} mod {_NUMBERS - 1} seed {self.seed:#x}"


def hashed(field: Field) -> tuple[Jhash, Jhash]:
    """64 bits that stand for a field, where its own 128 do not fit: see statements.Update."""
    return Jhash(field, 1), Jhash(field, 2)


Part = Field | Numgen | Jhash


@dataclass(frozen=True, slots=True)
class Concat:
    """Several expressions as one key, in nft's ` . ` notation."""

    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """nft's spelling."""
        return " . ".join(part.text for part in self.parts)


Expression = Part | Concat


def concat(*parts: Part) -> Concat:
    """The parts as one key."""
    return Concat(parts)


def parts_of(expression: Expression) -> tuple[Part, ...]:
    """The parts of a key, of which there may be one."""
    return expression.parts if isinstance(expression, Concat) else (expression,)


def typeof(expression: Expression) -> str:
    """The expression as an example of a type: nft's notes of a type know no jhash."""
    return " . ".join(
        Numgen(1).text if isinstance(part, Jhash) else part.text for part in parts_of(expression)
    )


def width(expression: Expression) -> int:
    """Bytes of the kernel's registers it takes, each part in whole registers of four."""
    return sum(
        _WIDTHS.get(part.text.removeprefix("ct original "), 4) for part in parts_of(expression)
    )


L4PROTO = Field("meta l4proto")
DPORT = Field("th dport")
#: Of the packet alone; the kernel sets it anew from the header when it forwards (IPv4), and nothing
#: of ours but statements.Load writes it.
PRIORITY = Field("meta priority")
#: Of ICMPv6 alone; packets of other protocols do not match.
ICMPV6_TYPE = Field("icmpv6 type")
CT_STATE = Field("ct state")
CT_STATUS = Field("ct status")
#: Of the connection, a number of 32 bits whose bits have several owners: see statements.AnyBit.
CT_MARK = Field("ct mark")
#: Of the packet, a number of 32 bits as a connection's: see statements.AnyBit.
MARK = Field("meta mark")
#: Needs a protocol in front of it in the same rule (`meta l4proto tcp …`).
ORIGINAL_DPORT = Field("ct original proto-dst")
#: Whether an address is the node's own: "local" when it is.
DADDR_TYPE = Field("fib daddr type")
SADDR_TYPE = Field("fib saddr type")
#: The interface a packet came in by. Matches may name a prefix: "cali*".
IIFNAME = Field("meta iifname")
#: The number of the interface a packet goes out by; "0", none, in prerouting and input.
OIF = Field("meta oif")
#: The number of the interface by which the route back to the sender goes, if it is the one that the
#: packet came in by; "0" if it is not.
REVERSE_OIF = Field("fib saddr . iif oif")


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


def original_saddr(family: Family) -> Field:
    """The source address the client had, before any SNAT."""
    return Field(f"ct original {family.nft} saddr")
