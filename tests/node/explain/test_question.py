"""What people write, understood or refused with a sentence that says what to write."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_core.objects import ObjectName, Protocol
from podwire_node.explain.question import MAX_WORDS, Question, QuestionError, parse

WEB, API = ObjectName("shop", "web"), ObjectName("shop", "api")

UNDERSTOOD = [
    ("shop/web", "shop/api", "", Question(WEB, API, None, None)),
    ("shop/web", "shop/api:80", "tcp", Question(WEB, API, 80, Protocol.TCP)),
    (
        "web",
        "api:80",
        "",
        Question(ObjectName("default", "web"), ObjectName("default", "api"), 80, None),
    ),
    ("shop/web", "shop/api:http", "", Question(WEB, API, "http", None)),
    ("10.244.1.5", "10.96.0.10:53", "UDP", Question("10.244.1.5", "10.96.0.10", 53, Protocol.UDP)),
    ("FD00::0:1", "[fd00::2]:80", "", Question("fd00::1", "fd00::2", 80, None)),
    ("fd00::1", "fd00::2", "sctp", Question("fd00::1", "fd00::2", None, Protocol.SCTP)),
    ("fd00::1", "[fd00::2]", "", Question("fd00::1", "fd00::2", None, None)),
]

REFUSED = [
    ("Web", "shop/api", "", "'Web': write NAMESPACE/NAME, like shop/web, or an address"),
    ("10.244.1.555", "shop/api", "", "'10.244.1.555': write NAMESPACE/NAME"),
    ("shop/web", "shop/", "", "'shop/' is no name"),
    ("shop/web", "a/b/c", "", "'a/b/c' is no name"),
    ("shop/web", "shop/api:0", "", "port 0: use a number from 1 to 65535"),
    ("shop/web", "shop/api:65536", "", "use a number from 1 to 65535"),
    ("shop/web", "shop/api:" + "9" * 5000, "", "use a number from 1 to 65535"),
    ("shop/web", "shop/api:", "", "use a number, or the name of a port"),
    ("shop/web", "shop/api:80", "icmp", "protocol 'icmp': use tcp, udp or sctp"),
    ("fe80::1%eth0", "shop/api:80", "", "write NAMESPACE/NAME"),
    ("", "", "", "write NAMESPACE/NAME"),
]


@pytest.mark.parametrize(("source", "destination", "protocol", "question"), UNDERSTOOD)
def test_a_question_is_understood(
    source: str, destination: str, protocol: str, question: Question
) -> None:
    assert parse(source, destination, protocol) == question


@pytest.mark.parametrize(("source", "destination", "protocol", "sentence"), REFUSED)
def test_what_is_no_question_is_told_what_to_write(
    source: str, destination: str, protocol: str, sentence: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        parse(source, destination, protocol)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=MAX_WORDS), st.text(max_size=MAX_WORDS), st.text(max_size=20))
def test_whatever_is_written_is_a_question_or_a_refusal(
    source: str, destination: str, protocol: str
) -> None:
    with suppress(QuestionError):
        parse(source, destination, protocol)
