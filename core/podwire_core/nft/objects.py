"""What nftables holds, as frozen values, and the keys by which we know each.

A key is a tuple that starts with the table's family and name:

    ("ip", "podwire-proxy")                                       the table
    ("ip", "podwire-proxy", "chain", "services")                  a chain, its rules are its value
    ("ip", "podwire-proxy", "set", "frontends")                   a set or map without its elements
    ("ip", "podwire-proxy", "element", "frontends", "10.9…")      an element, by its key's text

and a fingerprint is the text that tells two values under one key apart. What the kernel
lists has keys and fingerprints too (listing.py), so that comparing what is with what
should be is comparing two dictionaries.

nft lists rules in other words than we wrote them, and 1.0.6 lists no chain comments. So a
rule's comment ends in a digest of its text, a set's in a digest of its definition; those
comments are what is compared. They are at most 128 bytes (NFTNL_UDATA_COMMENT_MAXLEN).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import msgspec

from podwire_core.family import Family
from podwire_core.nft.expressions import Expression, Part, parts_of, typeof
from podwire_core.nft.statements import Statement, Verdict

Key = tuple[str, ...]
State = dict[Key, str]

MAX_COMMENT = 128  # bytes, with the closing zero: libnftnl's NFTNL_UDATA_COMMENT_MAXLEN

#: Entries that a dynamic set takes where its definition says no size (nft's own default).
DYNAMIC_SIZE = 65535


def digest(text: str, length: int = 8) -> str:
    """A short name for a text: the first hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def comment_text(words: str, suffix: str = "") -> str:
    """Words as a comment that nft takes: printable, no quotes, cut to fit with its suffix."""
    clean = words if _is_clean(words) else "".join(c if _is_clean(c) else "?" for c in words)
    room = MAX_COMMENT - 1 - len(suffix)
    return (clean if len(clean) <= room else f"{clean[: room - 3]}...") + suffix


def _is_clean(words: str) -> bool:
    return words.isascii() and words.isprintable() and '"' not in words and "\\" not in words


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one family. key: family and name, kept, because every element asks for it."""

    family: Family
    name: str
    key: Key = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.family.nft, self.name))

    @property
    def fingerprint(self) -> str:
        """Its flags, of which ours have none (`dormant` would switch all of it off)."""
        return ""

    @property
    def text(self) -> str:
        """`ip podwire-proxy`, as nft's commands want it."""
        return f"{self.family.nft} {self.name}"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain hangs: chain type, hook, and priority (a number, lower is earlier)."""

    type: str
    hook: str
    priority: int

    @property
    def text(self) -> str:
        """`type nat hook prerouting priority -100; policy accept;`."""
        return f"type {self.type} hook {self.hook} priority {self.priority}; policy accept;"

    @property
    def fingerprint(self) -> str:
        """What the kernel's listing can be compared with."""
        return f"{self.type}/{self.hook}/{self.priority}/accept"


@dataclass(frozen=True, slots=True)
class Rule:
    """Statements in order, and why they stand there."""

    statements: tuple[Statement, ...]
    why: str = ""

    @property
    def comment(self) -> str:
        """Why, and a digest of what: enough to know this rule again in a listing."""
        return comment_text(self.why, f" #{digest(self._body)}".lstrip(" " if not self.why else ""))

    @property
    def _body(self) -> str:
        return " ".join(statement.text for statement in self.statements)

    @property
    def text(self) -> str:
        """nft's spelling, comment included."""
        return f'{self._body} comment "{self.comment}"'


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain and its rules; with a hook it is a base chain."""

    table: Table
    name: str
    rules: tuple[Rule, ...] = ()
    hook: Hook | None = None

    @property
    def key(self) -> Key:
        """Table, "chain", name."""
        return (*self.table.key, "chain", self.name)

    @property
    def fingerprint(self) -> str:
        """The hook and every rule's comment."""
        return "\n".join(
            [self.hook.fingerprint if self.hook else "", *(r.comment for r in self.rules)]
        )


@dataclass(frozen=True, slots=True)
class Set:
    """A named set, or with `data` a map, without its elements.

    key: what its keys are, by example ("typeof ip daddr . th dport"). data: the same for a
    map's values, or "verdict". interval: keys may be CIDRs and ranges, which never overlap.

    timeout: with one, packets fill it (statements.Update) and its entries go after so many
    seconds, if the statement says no other number. Entries are no objects: no one wants them,
    no reading of what is in force tells of them, and they are not drift. size: how many
    elements it takes; see DYNAMIC_SIZE.
    """

    table: Table
    name: str
    typeof: Expression
    why: str = ""
    data: Expression | str = ""
    interval: bool = False
    timeout: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        if self.interval and self.dynamic:
            raise ValueError(f"set {self.name}: packets fill no set of intervals")

    @property
    def dynamic(self) -> bool:
        """Whether packets fill it."""
        return self.timeout > 0

    @property
    def key(self) -> Key:
        """Table, "set", name: sets and maps share one name space."""
        return (*self.table.key, "set", self.name)

    @property
    def verb_noun(self) -> str:
        """nft's noun: "map" or "set"."""
        return "map" if self.data else "set"

    @property
    def definition(self) -> str:
        """What it holds, without its comment: the text whose digest the comment carries."""
        data = self.data if isinstance(self.data, str) else typeof(self.data)
        words = [f"typeof {typeof(self.typeof)}{f' : {data}' if data else ''};"]
        words += ["flags interval;"] * self.interval
        words += [f"flags dynamic,timeout; timeout {self.timeout}s;"] * self.dynamic
        words += [f"size {self.size};"] * (self.size > 0)
        return " ".join(words)

    @property
    def comment(self) -> str:
        """Why, and a digest of what."""
        return comment_text(self.why, f" #{digest(self.definition)}")

    @property
    def fingerprint(self) -> str:
        """Its comment, which carries the digest of its definition."""
        return self.comment

    @property
    def width(self) -> int:
        """How many parts its keys have."""
        return len(self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The key's parts."""
        return parts_of(self.typeof)


class Element(msgspec.Struct, frozen=True, gc=False):
    """One element. parts: the key, one text a part ("10.0.0.0/8" and "80-90" in interval sets).

    data: a map's value. words: for people, mostly namespace/name of what it stands for. It is a
    Struct, which is made in an eighth of a dataclass' time: filling the tables makes 200,000.
    """

    table: Table
    set: str
    parts: tuple[str, ...]
    data: tuple[str, ...] | Verdict | None = None
    words: str = ""

    @property
    def key(self) -> Key:
        """Table, "element", set, key text."""
        return (*self.table.key, "element", self.set, self.key_text)

    @property
    def key_text(self) -> str:
        """`10.96.0.10 . tcp . 80`."""
        return " . ".join(self.parts)

    @property
    def data_text(self) -> str:
        """`goto choose-3`, `10.244.1.5 . 8080`, or nothing."""
        data = self.data
        if isinstance(data, tuple):
            return " . ".join(data)
        return data.text if data else ""

    @property
    def comment(self) -> str:
        """The words, as nft takes them."""
        return comment_text(self.words)

    @property
    def fingerprint(self) -> str:
        """Value and comment."""
        if not self.words:
            return self.data_text
        return element_fingerprint(self.data_text, self.comment)


def element_fingerprint(data_text: str, comment: str) -> str:
    """One text for an element's value and comment, as values and listings both make it."""
    return f"{data_text}\n{comment}" if comment else data_text


Object = Table | Chain | Set | Element
