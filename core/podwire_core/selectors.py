"""Label selectors, with all four operators (Kubernetes API, meta/v1 LabelSelector).

    operator        matches an object whose labels …
    In              have the key, with one of the values
    NotIn           lack the key, or have it with none of the values
    Exists          have the key
    DoesNotExist    lack the key

All requirements must hold. `{}` matches everything; "no selector at all" is None in the
objects that hold one, and what it means is their affair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum

import msgspec

Labels = Mapping[str, str]


class Operator(StrEnum):
    """How a requirement judges one key."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(msgspec.Struct, frozen=True):
    """One row of matchExpressions."""

    key: str
    operator: Operator
    values: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        takes_values = self.operator in {Operator.IN, Operator.NOT_IN}
        if takes_values and not self.values:
            raise ValueError(f"`values`: operator {self.operator} needs at least one")
        if self.values and not takes_values:
            raise ValueError(f"`values`: operator {self.operator} takes none")

    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels meets this one requirement."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in (self.values or ())
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in (self.values or ())
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


class LabelSelector(msgspec.Struct, frozen=True, rename="camel"):
    """matchLabels and matchExpressions, all of which must hold."""

    match_labels: dict[str, str] | None = None
    match_expressions: tuple[Requirement, ...] | None = None

    def matches(self, labels: Labels) -> bool:
        """Whether an object with these labels is selected."""
        wanted = self.match_labels or {}
        return all(labels.get(key) == value for key, value in wanted.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions or ()
        )

    @property
    def text(self) -> str:
        """For people, whatever the order it was written in. Two selectors may read alike."""
        rows = [f"{key}={value}" for key, value in (self.match_labels or {}).items()]
        for requirement in self.match_expressions or ():
            values = ",".join(sorted(set(requirement.values or ())))
            rows.append(f"{requirement.key} {requirement.operator} ({values})")
        return " & ".join(sorted(set(rows))) or "everything"

    @property
    def identity(self) -> str:
        """For names: one spelling per selector, whatever the order it was written in.

        JSON, because label values come with any characters: joined with plain separators, two
        selectors could be spelled alike.
        """
        labels = sorted((self.match_labels or {}).items())
        rows = {
            (row.key, row.operator.value, tuple(sorted(set(row.values or ()))))
            for row in self.match_expressions or ()
        }
        return json.dumps([labels, sorted(rows)], separators=(",", ":"))


EVERYTHING = LabelSelector()
