"""Connections judged twice, with the objects as they are and as they would be. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from podwire_core.objects import Node, ObjectName
from podwire_core.snapshot import Snapshot
from podwire_node.policy_audit.answer import OUTSIDE, Row
from podwire_node.policy_audit.connections import Connection
from podwire_policy.oracle import End, Judge, Judgement, misses

MAX_ROWS = 1000

#: Both ends, port, protocol, and who decides.
_Key = tuple[str, str, int, str, str]


@dataclass(frozen=True)
class Compared:
    """How many connections end how. Rows: those with the most connections first."""

    newly_denied: int
    newly_allowed: int
    still_allowed: int
    still_denied: int
    denied_rows: Sequence[Row]
    allowed_rows: Sequence[Row]


@dataclass
class _Group:
    """Connections that are told as one, of which one is kept."""

    first: Judgement
    number: int = 0


class _Comparison:
    def __init__(
        self, before: Snapshot, after: Snapshot, subjects: Collection[ObjectName] | None
    ) -> None:
        self._subjects = subjects
        self._before = Judge(before)
        self._after = Judge(after)
        nodes = before.all(Node)
        self._nodes = {ip: node.metadata.name for node in nodes for ip in node.addresses}
        self.unchanged = {True: 0, False: 0}
        self.changed: dict[bool, dict[_Key, _Group]] = {True: {}, False: {}}

    def add(self, each: Connection) -> None:
        question = (each.source, each.destination, each.protocol, each.port)
        was = self._before.judge(*question)
        now = self._after.judge(*question) if self._may_change(was) else was
        if was.allowed == now.allowed:
            self.unchanged[now.allowed] += 1
            return
        key = (
            self._name(now.question.source),
            self._name(now.question.destination),
            each.port,
            str(each.protocol),
            now.denied.reason if now.denied else _allowing(was, now),
        )
        self.changed[now.allowed].setdefault(key, _Group(now)).number += 1

    def _may_change(self, was: Judgement) -> bool:
        """Whether an end is a subject, or nobody's, for whom it matters that there are policies."""
        if self._subjects is None:
            return True
        pods = (was.question.source.pod, was.question.destination.pod)
        return any(pod is None or pod.name in self._subjects for pod in pods)

    def count(self, *, allowed: bool) -> int:
        return sum(group.number for group in self.changed[allowed].values())

    def rows(self, *, allowed: bool) -> list[Row]:
        groups = sorted(self.changed[allowed].items(), key=lambda row: (-row[1].number, row[0]))
        return [self._row(key, group) for key, group in groups[:MAX_ROWS]]

    def _row(self, key: _Key, group: _Group) -> Row:
        source, destination, port, protocol, reason = key
        return Row(
            source,
            destination,
            port,
            protocol,
            group.number,
            _addresses(group.first),
            reason,
            misses(self._after, group.first),
        )

    def _name(self, end: End) -> str:
        return str(end.pod.name) if end.pod else self._nodes.get(end.address, OUTSIDE)


def _allowing(was: Judgement, now: Judgement) -> str:
    """Who lets it through on each side that denied it."""
    sides = ((was.egress, now.egress), (was.ingress, now.ingress))
    return "; ".join(after.reason for before, after in sides if not before.allowed)


def _addresses(judged: Judgement) -> str:
    asked = judged.question
    return f"{asked.source.address} → {asked.destination.address}"


def compare(
    before: Snapshot,
    after: Snapshot,
    connections: Iterable[Connection],
    subjects: Collection[ObjectName] | None = None,
) -> Compared:
    """What the change from one state of the objects to the other does to these connections.

    subjects: the pods that it concerns, where they are known: others are judged once.
    """
    found = _Comparison(before, after, subjects)
    for each in connections:
        found.add(each)
    return Compared(
        newly_denied=found.count(allowed=False),
        newly_allowed=found.count(allowed=True),
        still_allowed=found.unchanged[True],
        still_denied=found.unchanged[False],
        denied_rows=found.rows(allowed=False),
        allowed_rows=found.rows(allowed=True),
    )
