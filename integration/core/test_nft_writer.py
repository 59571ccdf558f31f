"""Elements that are written straight to nf_tables are those that libnftables would have written."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nft_elements import filled, sets
from scratch import Netns

from podwire_core.delta import Delta
from podwire_core.errors import NftError
from podwire_core.family import FAMILIES, Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.objects import Chain, Element, Object
from podwire_core.nft.statements import goto
from podwire_core.nft.transaction import Command, Gone, Transaction, Verb, transaction

V4, V6 = FAMILIES
VERDICTS = sets(V4)["address proto port"]
TABLE = VERDICTS.table
PLAIN = [words for words, each in sets(V4).items() if not each.interval]


def adding(objects: Iterable[Object]) -> Transaction:
    return transaction(Delta(added={each.key: each for each in objects}))


def deleting(elements: Iterable[Object]) -> Transaction:
    return Transaction(tuple(Command(Verb.DELETE, Gone(each.key)) for each in elements))


def written(kernel: Kernel, sent: Transaction) -> None:
    """Commit, and be sure that libnftables had no part in it."""
    assert kernel._elements.takes(sent)
    kernel._elements.commit(sent)


def verdict(number: int, chain: str = "there") -> Element:
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return Element(TABLE, VERDICTS.name, (address, "tcp", "80"), goto(chain), f"shop/{number}")


@pytest.fixture
def base(kernel: Kernel) -> Kernel:
    kernel.commit(adding([TABLE, Chain(TABLE, "there"), Chain(TABLE, "away"), VERDICTS]))
    return kernel


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("words", PLAIN)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # each example empties the table
)
@given(data=st.data())
def test_any_element_of_any_type_is_the_same(
    kernel: Kernel, family: Family, words: str, data: st.DataObject
) -> None:
    home = sets(family)[words]
    elements = data.draw(filled(family, words))
    frame = [home.table, Chain(home.table, "there"), home]
    kernel.commit(adding([*frame, *elements]))
    by_library = dict(kernel.read([home.table]))
    kernel.commit(Transaction((Command(Verb.DELETE, Gone(home.table.key)),)))
    kernel.commit(adding(frame))
    try:
        if elements and kernel._elements.takes(adding(elements)):
            kernel.commit(adding(elements))
            assert dict(kernel.read([home.table])) == by_library
            kernel.commit(deleting(elements[::2]))
            left = len(by_library) - len(elements[::2])
            assert len(kernel.read([home.table])) == left
    finally:
        kernel.commit(Transaction((Command(Verb.DELETE, Gone(home.table.key)),)))


def test_what_differs_is_replaced_in_one_batch(base: Kernel) -> None:
    written(base, adding([verdict(1), verdict(2)]))
    both = Transaction((*deleting([verdict(1)]).commands, *adding([verdict(1, "away")]).commands))
    written(base, both)
    assert base.read([TABLE])[verdict(1).key].startswith("goto away")


def test_the_same_again_is_no_error(base: Kernel) -> None:
    written(base, adding([verdict(1)]))
    written(base, adding([verdict(1)]))


@pytest.mark.parametrize(
    ("promise", "refused", "reason"),
    [
        ("another value", adding([verdict(1, "away")]), "File exists"),
        ("not there", deleting([verdict(7)]), "No such file or directory"),
        ("a chain that is not there", adding([verdict(9, "nowhere")]), "No such file or directory"),
    ],
)
def test_a_refusal_leaves_everything_as_it_was_and_names_the_element(
    base: Kernel, promise: str, refused: Transaction, reason: str
) -> None:
    written(base, adding([verdict(1)]))
    before = dict(base.read([TABLE]))
    mixed = Transaction((*adding([verdict(2)]).commands, *refused.commands))
    with pytest.raises(NftError, match=rf"{reason}.*element ip podwire-test") as error:
        base.commit(mixed)
    assert "\n" not in str(error.value), promise
    assert dict(base.read([TABLE])) == before
    written(base, adding([verdict(3)]))  # the next one is not confused by it


def test_a_hundred_thousand_elements_in_one_batch_are_all_or_none(base: Kernel) -> None:
    many = [verdict(number) for number in range(100_000)]
    with pytest.raises(NftError, match="No such file"):
        base.commit(Transaction((*adding(many).commands, *deleting([verdict(200_000)]).commands)))
    assert len(base.read([TABLE])) == 4
    written(base, adding(many))
    assert len(base.read([TABLE])) == 100_004
    written(base, deleting(many))
    assert len(base.read([TABLE])) == 4


def test_intervals_and_chains_are_left_to_libnftables(base: Kernel) -> None:
    interval = sets(V4)["addresses"]
    base.commit(adding([interval]))
    element = Element(TABLE, interval.name, ("10.0.0.0/8",))
    for transaction_ in (adding([element]), adding([Chain(TABLE, "new"), verdict(1, "new")])):
        assert not base._elements.takes(transaction_)
        base.commit(transaction_)
    assert element.key in base.read([TABLE])


def test_a_set_that_someone_made_anew_is_asked_for_again(home: Netns, base: Kernel) -> None:
    written(base, adding([verdict(1)]))
    home.run("nft", "delete", "table", "ip", TABLE.name)
    with pytest.raises(NftError, match="No such file"):
        base.commit(adding([verdict(2)]))
    other = sets(V4)["address"]
    same_name = Element(TABLE, VERDICTS.name, ("10.0.0.1",))
    home.run("nft", "add", "table", "ip", TABLE.name)
    home.run("nft", f"add set ip {TABLE.name} {VERDICTS.name} {{ {other.definition} }}")
    base.commit(adding([same_name]))
    assert same_name.key in base.read([TABLE])


@pytest.mark.parametrize("words", [("10.0.0.300", "tcp", "80"), ("10.0.0.1", "tcp", "-1")])
def test_words_that_are_none_are_refused_by_name(base: Kernel, words: tuple[str, ...]) -> None:
    with pytest.raises(NftError):
        base.commit(adding([Element(TABLE, VERDICTS.name, words, goto("there"))]))


def test_what_is_longer_than_the_socket_takes_is_libnftables(base: Kernel) -> None:
    """In a user namespace no one may have a larger buffer than everyone's."""
    base._elements._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    base.commit(adding(verdict(number) for number in range(1000)))
    assert sum("element" in key for key in base.read([TABLE])) == 1000
