"""The errors that cross podwire's inner borders.

PodwireError
├── ObjectError        one object (or one file of objects) is unusable; the rest goes on
├── FeedError          the source of objects as a whole cannot be read
├── ConntrackError     the kernel does not list connections, or does not change one
├── SockDiagError      the kernel does not list other programs' sockets, or does not end one
├── NfLogError         the kernel does not tell of packets that rules log
└── NftError           the kernel, or the fake in its place, refused a transaction
    └── NftUnavailable nftables cannot be used here at all (no library, no permission)
"""

from __future__ import annotations

from dataclasses import dataclass


class PodwireError(Exception):
    """Base of all errors that podwire raises on purpose."""


@dataclass(unsafe_hash=True)
class ObjectError(PodwireError):
    """One object that cannot be used, named so that its author finds it.

    source: where it was read (a file's path, or a URL). object: "Kind namespace/name", or ""
    when that much could not be read. field: the path in the object ("spec.ports[0].port"),
    or "" when the whole is at fault. reason: one sentence without a full stop.

    A value: equal when all four are, and no one assigns to them. It is not frozen, because
    Python writes an exception's traceback to it when it passes through a context manager.
    """

    source: str
    object: str
    field: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(
            part for part in (self.source, self.object, self.field, self.reason) if part
        )


class FeedError(PodwireError):
    """The source of objects cannot be read at all (a folder that is not there)."""


class ConntrackError(PodwireError):
    """The kernel refused to list connections, or to change one; the text says what to do."""


class SockDiagError(PodwireError):
    """The kernel refused to list sockets, or to destroy one; the text says what to do."""


class NfLogError(PodwireError):
    """Nobody hears what rules log, or not we do; the text says what to do."""


class NftError(PodwireError):
    """A transaction was refused. Nothing of it is in force: nftables commits all or nothing."""


class NftUnavailable(NftError):  # noqa: N818 - a state of the host rather than one call's error
    """nftables cannot be used on this host; the text says what to install or allow."""
