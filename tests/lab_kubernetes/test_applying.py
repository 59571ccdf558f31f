"""What the API server refuses, as sentences; and the order in which things are applied."""

from typing import Any

import pytest

from podwire_core.feed.api_server import ApiError
from podwire_lab.kubernetes import applying
from podwire_lab.kubernetes.applying import Sourced, Unreachable

WEB = Sourced("web.yaml", {"kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}})

MANY = 'Deployment.apps "web" is invalid: [spec.replicas: Invalid value: -1: must be 0 or more, '
MANY += "spec.template.spec.containers[0].image: Required value]"

REFUSALS = {
    "one field in the message": (
        'Service "web" is invalid: spec.ports: Required value',
        [("spec.ports", "Required value")],
    ),
    "several in one message": (
        MANY,
        [
            ("spec.replicas", "Invalid value: -1: must be 0 or more"),
            ("spec.template.spec.containers[0].image", "Required value"),
        ],
    ),
    "a field that the schema does not know": (
        (
            "failed to create typed patch object (shop/web; apps/v1,"
            " Kind=Deployment): .spec.foo: field not declared in schema"
        ),
        [("spec.foo", "field not declared in schema")],
    ),
    "no field at all": (
        'namespaces "shop" not found',
        [("", 'namespaces "shop" not found')],
    ),
    "no sentence of the API": ("Forbidden", [("", "Forbidden")]),
}


def refused(message: str) -> list[tuple[str, str]]:
    error = applying._refusal(WEB, ApiError(422, message))
    assert all(each.source == "web.yaml" for each in error.errors)
    assert all(each.object == "Deployment shop/web" for each in error.errors)
    return [(each.field, each.reason) for each in error.errors]


@pytest.mark.parametrize(("message", "expected"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_names_object_and_field(message: str, expected: list[tuple[str, str]]) -> None:
    assert refused(message) == expected


def test_no_answer_is_no_refusal() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        applying._refusal(WEB, ApiError(0, "connection refused"))


@pytest.mark.parametrize(
    "document", [{}, {"metadata": None}, {"metadata": "x"}, {"kind": 3, "metadata": {"name": []}}]
)
def test_a_document_of_any_shape_has_a_label(document: dict[str, Any]) -> None:
    assert Sourced("x.yaml", document).label


def test_namespaces_go_first_and_leave_last() -> None:
    kinds = ["Service", "Namespace", "Pod", "CustomResourceDefinition", "Deployment"]
    ordered = sorted(kinds, key=applying._rank)
    assert ordered[:2] == ["CustomResourceDefinition", "Namespace"]
