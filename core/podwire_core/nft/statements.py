"""What a rule does. A rule is a tuple of statements; each renders to nft text in `text`.

Match          goes on only if the expression has the value, or is in the set
AnyBit         goes on only if a number has one of some bits
Limit          goes on only so many times a second
Verdict        accept, drop, jump, goto, return
Vmap           the verdict that a map holds for the expression; goes on if there is none
Load           what a map holds, into a field of the packet, for the next statement
Dnat           new destination, address and port, from a map; goes on if there is none
Masquerade     new source: an address of the interface it leaves by
Reject         drop, and tell the sender (ICMP port unreachable, or RST)
Counter        counts packets and bytes
Log            tells whoever listens to a group of the packet's first bytes
Update         remembers a value for the expression in a dynamic map, for a while
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from podwire_core.family import Family
from podwire_core.nft.expressions import IIFNAME, Expression, Field, width

#: An interface's name (at most IFNAMSIZ - 1 bytes), or a prefix and "*".
_INTERFACE = re.compile(r"[!#-)+-.0-\[\]-~]{1,15}|[!#-)+-.0-\[\]-~]{1,14}\*")

#: What libnftables 1.0.6 has room for in the update of a map; it ends the process at more
#: (assert in netlink_gen_expr). An IPv6 address and a port are more: hashed(), and two maps.
UPDATE_BYTES = 16

#: A log's prefix: the kernel has room for 127 bytes (NF_LOG_PREFIXLEN), and quotes are nft's own.
_PREFIX = re.compile(r"[ !#-\[\]-~]{1,127}")
_GROUPS = 1 << 16  # nfnetlink_log's groups


class VerdictKind(StrEnum):
    """nft's verdicts."""

    ACCEPT = "accept"
    DROP = "drop"
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict; `chain` is where jump and goto lead."""

    kind: VerdictKind
    chain: str = ""

    def __post_init__(self) -> None:
        leads = self.kind in {VerdictKind.JUMP, VerdictKind.GOTO}
        if leads != bool(self.chain):
            raise ValueError(f"verdict {self.kind} with chain {self.chain!r}")

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"{self.kind} {self.chain}" if self.chain else str(self.kind)


ACCEPT = Verdict(VerdictKind.ACCEPT)
DROP = Verdict(VerdictKind.DROP)
RETURN = Verdict(VerdictKind.RETURN)


def jump(chain: str) -> Verdict:
    """Go through another chain and come back."""
    return Verdict(VerdictKind.JUMP, chain)


def goto(chain: str) -> Verdict:
    """Go through another chain and do not come back; costs none of the 16 jump levels."""
    return Verdict(VerdictKind.GOTO, chain)


@dataclass(frozen=True, slots=True)
class Match:
    """`expression value…`, or `expression @set`; `negated` turns it round (`!=`).

    Several values mean any of them and render without braces ("established,related"), which
    nft allows for bit fields like ct state; an anonymous set is never made. Names of
    interfaces render in quotes; one that ends in "*" is a prefix.
    """

    expression: Expression
    values: tuple[str, ...] = ()
    set: str = ""
    negated: bool = False

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.set):
            raise ValueError("a match compares with values or with one set")
        if self.expression == IIFNAME and not all(map(_INTERFACE.fullmatch, self.values)):
            raise ValueError(f"{self.values} is not the name of an interface")

    @property
    def text(self) -> str:
        """nft's spelling."""
        operator = "!= " if self.negated else ""
        quote = '"' if self.expression == IIFNAME else ""
        values = [f"{quote}{value}{quote}" for value in self.values]
        right = f"@{self.set}" if self.set else ",".join(values)
        return f"{self.expression.text} {operator}{right}"


@dataclass(frozen=True, slots=True)
class AnyBit:
    """Whether a number, such as CT_MARK, has at least one of these bits."""

    field: Field
    bits: int

    def __post_init__(self) -> None:
        if not 0 < self.bits < 1 << 32:
            raise ValueError(f"{self.bits:#x} are no bits of 32")

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"{self.field.text} & {self.bits:#x} != 0"


@dataclass(frozen=True, slots=True)
class Limit:
    """Goes on `per_second` times a second, and `burst` times at once after a pause.

    What is too much does not match. The kernel counts for each rule, all packets together.
    """

    per_second: int
    burst: int

    def __post_init__(self) -> None:
        if self.per_second < 1 or self.burst < 1:
            raise ValueError(f"limit of {self.per_second} a second with burst {self.burst}")

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"limit rate {self.per_second}/second burst {self.burst} packets"


@dataclass(frozen=True, slots=True)
class Vmap:
    """The verdict that `map` holds for the expression."""

    expression: Expression
    map: str

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"{self.expression.text} vmap @{self.map}"


@dataclass(frozen=True, slots=True)
class Load:
    """What `map` holds for the expression, put into a field; goes on only if it holds something.

    nft has no other place where a value waits for the next statement of a rule.
    """

    field: Field
    expression: Expression
    map: str

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f"{self.field.text} set {self.expression.text} map @{self.map}"


@dataclass(frozen=True, slots=True)
class Dnat:
    """`dnat ip addr . port to EXPRESSION map @MAP`: the map's data is address . port.

    With `ports`, that map holds the ports, and `map` addresses alone (where it holds ports too,
    libnftables 1.0.6 ends the process).
    """

    family: Family
    expression: Expression
    map: str
    ports: str = ""

    @property
    def text(self) -> str:
        """nft's spelling."""
        if self.ports:
            key = self.expression.text
            return f"dnat {self.family.nft} to {key} map @{self.map} : {key} map @{self.ports}"
        return f"dnat {self.family.nft} addr . port to {self.expression.text} map @{self.map}"


@dataclass(frozen=True, slots=True)
class Masquerade:
    """Source NAT to the leaving interface's address, with an unpredictable port.

    fully-random: two clients that chose one port do not race for it in conntrack.
    """

    @property
    def text(self) -> str:
        """nft's spelling."""
        return "masquerade fully-random"


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse, which connect() reports as ECONNREFUSED.

    By ICMP port unreachable, of which the kernel sends a few a second to each host
    (net.ipv4.icmp_ratelimit); with tcp_reset by RST, which is not limited.
    """

    tcp_reset: bool = False

    @property
    def text(self) -> str:
        """nft's spelling."""
        return "reject with tcp reset" if self.tcp_reset else "reject"


@dataclass(frozen=True, slots=True)
class Counter:
    """Counts what reaches it."""

    @property
    def text(self) -> str:
        """nft's spelling."""
        return "counter"


@dataclass(frozen=True, slots=True)
class Log:
    """Tell whoever listens to the group (nflog.NfLog), and go on.

    snaplen: how many of the packet's bytes are told, from its network header on.
    """

    prefix: str
    group: int
    snaplen: int = 128

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"log with prefix {self.prefix!r}")
        if not 0 <= self.group < _GROUPS or self.snaplen < 1:
            raise ValueError(f"log to group {self.group} with snaplen {self.snaplen}")

    @property
    def text(self) -> str:
        """nft's spelling."""
        return f'log prefix "{self.prefix}" group {self.group} snaplen {self.snaplen}'


@dataclass(frozen=True, slots=True)
class Update:
    """Remember `data` for the expression in a dynamic map, for `timeout` seconds from now.

    What is remembered already keeps its value and lives as long anew. Where a new entry finds
    no room (Set.size), the rule ends here, as if a match had failed.

    With data, neither key nor data may be wider than UPDATE_BYTES.
    """

    expression: Expression
    set: str
    timeout: int
    data: Expression | None = None

    def __post_init__(self) -> None:
        if self.timeout < 1:
            raise ValueError(f"update of @{self.set} with timeout {self.timeout} s")
        if self.data and max(width(self.expression), width(self.data)) > UPDATE_BYTES:
            raise ValueError(f"update of @{self.set} with more than {UPDATE_BYTES} bytes")

    @property
    def text(self) -> str:
        """nft's spelling."""
        data = f" : {self.data.text}" if self.data else ""
        return f"update @{self.set} {{ {self.expression.text} timeout {self.timeout}s{data} }}"


Statement = (
    Match
    | AnyBit
    | Limit
    | Verdict
    | Vmap
    | Load
    | Dnat
    | Masquerade
    | Reject
    | Counter
    | Log
    | Update
)
