"""What an audit found. It goes through the socket as JSON, and is what --json prints."""

from __future__ import annotations

import msgspec

from podwire_core import typed
from podwire_node.control.errors import ControlError

#: How an end is called that is neither a pod nor a node.
OUTSIDE = "outside"


class _Answer(msgspec.Struct, frozen=True, rename="camel"):
    """Every field is told, also one that says nothing: scripts look for them."""


class PolicyRow(_Answer, frozen=True):
    """One policy of the proposal. change: new, changed, unchanged or deleted.

    selects: pods that are its subjects now. unknown: fields that are not known here, for which a
    ClusterNetworkPolicy fails closed, while a NetworkPolicy is as if they were not there.
    """

    kind: str
    name: str
    change: str
    selects: int
    unknown: tuple[str, ...] = ()


class Row(_Answer, frozen=True):
    """Connections between two ends that would become denied, or allowed, for one reason.

    source, destination: a pod, a node, or "outside". connections: how many were seen, each by
    its addresses; example is one of them. reason: who decides it, after the change.
    """

    source: str
    destination: str
    port: int
    protocol: str
    connections: int
    example: str
    reason: str
    nearest_miss: str = ""


class Audit(_Answer, frozen=True):
    """The whole answer; rows with the most connections first, at most MAX_ROWS of each kind.

    The numbers count connections, each once however often it was made. newly_denied and
    newly_allowed are of all, also of those whose rows were left out. notes: what is odd about the
    policies, and what was left out.
    """

    node: str
    connections: int
    newly_denied: int
    newly_allowed: int
    still_allowed: int
    still_denied: int
    denied_rows: tuple[Row, ...] = ()
    allowed_rows: tuple[Row, ...] = ()
    policies: tuple[PolicyRow, ...] = ()
    notes: tuple[str, ...] = ()


def audit_of(document: object) -> Audit:
    """An agent's answer, read. Raises ControlError where it is none."""
    try:
        return typed.convert(document, Audit)
    except msgspec.ValidationError as error:
        raise ControlError(f"the agent answers what this command does not know: {error}") from error
