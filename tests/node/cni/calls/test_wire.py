"""The protocol: both ways, its bounds, and that the client's half says the same."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podwire_node.cni.calls import server, wire
from podwire_node.cni.calls.wire import Answer, Request, WireError

HEADER = Path(__file__).parents[4] / "cni-plugin/client/protocol.h"
CALL = HEADER.with_name("call.c")

VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50)


def decoded(message: bytes) -> Request:
    environment, stdin = wire.request_sizes(message[: wire.HEADER_BYTES])
    body = message[wire.HEADER_BYTES :]
    assert len(body) == environment + stdin
    return wire.decode_request(body[:environment], body[environment:])


@given(st.dictionaries(st.sampled_from(sorted(wire.VARIABLES)), VALUES), st.binary(max_size=99))
def test_a_request_comes_back_as_it_went(environ: dict[str, str], stdin: bytes) -> None:
    request = Request(environ, stdin)
    assert decoded(wire.encode_request(request)) == request


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_garbage_is_an_error_and_nothing_else(environment: bytes, stdin: bytes) -> None:
    with suppress(WireError):
        wire.decode_request(environment, stdin)


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1",
        b"PWC1\xff\xff\xff\xff\0\0\0\0",
        b"PWC1\0\0\0\0\xff\xff\xff\xff",
        b"PWC1\0\x01\0\x01\0\0\0\0",
    ],
)
def test_lengths_are_bounded_before_anything_is_read(header: bytes) -> None:
    with pytest.raises(WireError):
        wire.request_sizes(header)


@pytest.mark.parametrize(
    "environment",
    [b"CNI_COMMAND=ADD", b"LD_PRELOAD=/x\0", b"CNI_IFNAME=a\0CNI_IFNAME=b\0", b"\0", b"CNI_PATH\0"],
)
def test_no_other_variable_gets_through(environment: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode_request(environment, b"")


def test_bytes_that_are_no_text_survive() -> None:
    request = wire.decode_request(b"CNI_ARGS=\xff\xfe\0", b"")
    assert wire.encode_request(request)[wire.HEADER_BYTES :] == b"CNI_ARGS=\xff\xfe\0"


def test_an_answer_that_no_client_takes_is_not_sent() -> None:
    with pytest.raises(WireError):
        wire.encode_answer(Answer(0, bytes(wire.ANSWER_BYTES + 1)))


def test_the_client_has_the_same_numbers() -> None:
    defined = dict(re.findall(r"^#define (\w+) \"?(\w+)\"?$", HEADER.read_text(), re.MULTILINE))
    ours = {name: getattr(wire, name) for name in defined}
    assert ours == {
        name: value.encode() if name.endswith("MAGIC") else int(value)
        for name, value in defined.items()
    }


def test_the_client_sends_the_variables_that_the_agent_takes() -> None:
    listed = CALL.read_text().partition("VARIABLES[] = {")[2].partition("}")[0]
    assert set(re.findall(r"CNI_\w+", listed)) == wire.VARIABLES


def test_the_agent_gives_up_before_the_client_and_the_client_before_the_runtime() -> None:
    waits = {
        name: int(value) / 1000
        for name, value in re.findall(
            r"^#define PODWIRE_(\w+)_MS (\d+)", CALL.read_text(), re.MULTILINE
        )
    }
    assert waits["STATUS"] > server._PATIENCE["STATUS"]
    assert waits["ANSWER"] > server._DEFAULT_PATIENCE
    assert waits["DELETE_CONNECT"] + waits["ANSWER"] < 60  # containerd's and CRI-O's for a DEL
