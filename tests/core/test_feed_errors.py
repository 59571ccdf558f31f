"""ObjectError is a value: compared, kept in sets, and raised through anything."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from podwire_core.errors import ObjectError

ERROR = ObjectError("web.yaml", "Service shop/web", "spec.ports[0].port", "Expected `int` >= 1")


@contextmanager
def passed_through() -> Iterator[None]:
    yield


def test_it_passes_through_context_managers_unharmed() -> None:
    def fail() -> None:
        with ExitStack() as stack, passed_through():
            stack.enter_context(passed_through())
            raise ERROR

    with pytest.raises(ObjectError) as caught:
        fail()
    assert caught.value is ERROR


def test_equal_parts_are_equal_errors() -> None:
    same = ObjectError("web.yaml", "Service shop/web", "spec.ports[0].port", "Expected `int` >= 1")
    assert same == ERROR
    assert {ERROR, same} == {ERROR}
    assert replace(ERROR, source="other.yaml") != ERROR
    assert ValueError(*ERROR.args) != ERROR


def test_a_copy_is_equal() -> None:
    assert copy.copy(ERROR) == pickle.loads(pickle.dumps(ERROR)) == ERROR


def test_what_is_not_known_is_left_out_of_its_sentence() -> None:
    assert str(ObjectError("", "Pod a/b", "", "is gone")) == "Pod a/b: is gone"
