from __future__ import annotations

import msgspec
import pytest

from podwire_core.selectors import EVERYTHING, LabelSelector

LABELS = {"app": "api", "tier": "backend"}


def selector(**fields: object) -> LabelSelector:
    return msgspec.convert(fields, LabelSelector)


def expression(operator: str, key: str, *values: str) -> LabelSelector:
    row: dict[str, object] = {"key": key, "operator": operator}
    if values:
        row["values"] = list(values)
    return selector(matchExpressions=[row])


@pytest.mark.parametrize(
    ("promise", "chosen", "matches"),
    [
        ("an empty selector selects everything", EVERYTHING, True),
        ("all labels must be equal", selector(matchLabels={"app": "api", "tier": "backend"}), True),
        ("one wrong label is enough", selector(matchLabels={"app": "api", "tier": "web"}), False),
        ("a missing label is a wrong one", selector(matchLabels={"zone": ""}), False),
        ("In matches one of its values", expression("In", "app", "web", "api"), True),
        ("In needs the key", expression("In", "zone", "a"), False),
        ("NotIn rejects its values", expression("NotIn", "app", "api"), False),
        ("NotIn matches other values", expression("NotIn", "app", "web"), True),
        ("NotIn matches what lacks the key", expression("NotIn", "zone", "a"), True),
        ("Exists needs the key", expression("Exists", "zone"), False),
        ("Exists is content with any value", expression("Exists", "app"), True),
        ("DoesNotExist rejects the key", expression("DoesNotExist", "app"), False),
        ("DoesNotExist matches what lacks it", expression("DoesNotExist", "zone"), True),
        (
            "labels and expressions must both hold",
            selector(
                matchLabels={"app": "api"},
                matchExpressions=[{"key": "tier", "operator": "DoesNotExist"}],
            ),
            False,
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_selector(promise: str, chosen: LabelSelector, matches: bool) -> None:
    assert chosen.matches(LABELS) is matches, promise


@pytest.mark.parametrize(
    ("operator", "values", "words"),
    [
        ("In", [], "needs at least one"),
        ("NotIn", None, "needs at least"),
        ("Exists", ["a"], "takes none"),
    ],
)
def test_an_impossible_requirement_is_refused(operator: str, values: object, words: str) -> None:
    row = {"key": "app", "operator": operator, "values": values}
    with pytest.raises(msgspec.ValidationError, match=words):
        selector(matchExpressions=[row])


def test_selectors_that_mean_the_same_are_spelled_the_same() -> None:
    one = selector(
        matchLabels={"b": "2", "a": "1"},
        matchExpressions=[{"key": "c", "operator": "In", "values": ["y", "x"]}],
    )
    two = selector(
        matchExpressions=[{"key": "c", "operator": "In", "values": ["x", "y", "x"]}],
        matchLabels={"a": "1", "b": "2"},
    )
    assert one.text == two.text
    assert one.identity == two.identity
    assert EVERYTHING.text == "everything"


@pytest.mark.parametrize(
    ("promise", "one", "two"),
    [
        (
            "a value with a separator is no second label",
            selector(matchLabels={"a": "1 & b=2"}),
            selector(matchLabels={"a": "1", "b": "2"}),
        ),
        (
            "a value with a comma is no second value",
            expression("In", "a", "1,2"),
            expression("In", "a", "1", "2"),
        ),
        ("a label is no expression", selector(matchLabels={"a": "1"}), expression("Exists", "a")),
        (
            "an operator counts",
            expression("Exists", "a"),
            expression("DoesNotExist", "a"),
        ),
        ("nothing is not something", EVERYTHING, selector(matchLabels={"everything": ""})),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_selectors_that_differ_have_different_identities(
    promise: str, one: LabelSelector, two: LabelSelector
) -> None:
    assert one.identity != two.identity, promise
