"""Files of manifests: what stands twice in them is not lost silently."""

from __future__ import annotations

import pytest

from podwire_core.feed.documents import DocumentError, parse_documents


def parsed(text: str) -> list[dict[str, object]]:
    return parse_documents(text.encode(), is_json=False)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: A\nx: 1\nkind: B\n", "line 3: key 'kind' stands twice: is --- missing"),
        ("a:\n- b: {c: 1, d: 2, c: 3}\n", "line 2: key 'c' stands twice"),
        ("a: [{b: 1}]\n---\nc: 1\nc: [x]\n", "line 4: key 'c' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(DocumentError, match=sentence):
        parsed(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n---\na: 2\n",
        "a: [{b: 1}, {b: 2}]\nb: {a: a}\n",
        "x: {y: &y {<<: &z {a: 1, b: 1}, a: 2}}\nz: {<<: *y, a: 3}\n",
        "a: &one {k: 1}\nb: {<<: *one, <<: {m: 1}}\n",
    ],
)
def test_the_same_key_elsewhere_and_merged_keys_are_no_doubles(text: str) -> None:
    assert parsed(text)
