"""Which errors of a cluster's feed are new, and which stand: messages in, batches out."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiServer
from podwire_core.feed.cluster import RESOURCES, ClusterFeed
from podwire_core.feed.interface import Batch
from podwire_core.feed.reflector import Absent, Event, Listed, Message, Trouble
from podwire_core.objects import (
    ClusterNetworkPolicy,
    Node,
    ObjectName,
    Pod,
    PodMeta,
    ServiceCIDR,
)

NAME = ObjectName("shop", "one")
GOOD = Pod(PodMeta("one", "shop"))
ERROR = ObjectError("server", "Pod shop/one", "status.podIP", "is no address")
OTHER = ObjectError("server", "Pod shop/one", "spec", "is no object")
REFUSED = ObjectError("", "", "", "server/api/v1/pods: 403")

TURNED_BAD = Event(Pod, NAME, None, ERROR)


@pytest.fixture
def feed() -> Iterator[ClusterFeed]:
    """Without reflectors: the test says what they would say."""
    with ClusterFeed(Mock(ApiServer), ()) as made:
        yield made


def told(feed: ClusterFeed, *messages: Message) -> Batch:
    for message in messages:
        feed._emit(message)
    return feed.read()


@pytest.mark.parametrize(
    ("promise", "before", "message", "new", "standing"),
    [
        ("a bad object stands", (), TURNED_BAD, (ERROR,), (ERROR,)),
        ("the same error is not new", (TURNED_BAD,), TURNED_BAD, (), (ERROR,)),
        (
            "another error takes its place",
            (TURNED_BAD,),
            Event(Pod, NAME, None, OTHER),
            (OTHER,),
            (OTHER,),
        ),
        ("a mended object has none", (TURNED_BAD,), Event(Pod, NAME, GOOD), (), ()),
        ("an object that went has none", (TURNED_BAD,), Event(Pod, NAME, None), (), ()),
        ("a list without it has none", (TURNED_BAD,), Listed(Pod, {}, {}), (), ()),
        ("a list that mends it has none", (TURNED_BAD,), Listed(Pod, {NAME: GOOD}, {}), (), ()),
        (
            "a list in which it is bad keeps it",
            (TURNED_BAD,),
            Listed(Pod, {}, {NAME: ERROR}),
            (),
            (ERROR,),
        ),
        ("another kind's list keeps it", (TURNED_BAD,), Listed(Node, {}, {}), (), (ERROR,)),
        (
            "trouble stands before objects",
            (TURNED_BAD,),
            Trouble(Pod, REFUSED.reason),
            (REFUSED,),
            (REFUSED, ERROR),
        ),
        ("trouble ends", (Trouble(Pod, REFUSED.reason),), Trouble(Pod, ""), (), ()),
        (
            "trouble of another kind stays",
            (Trouble(Pod, REFUSED.reason),),
            Trouble(Node, ""),
            (),
            (REFUSED,),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors(
    feed: ClusterFeed,
    promise: str,
    before: tuple[Message, ...],
    message: Message,
    new: tuple[ObjectError, ...],
    standing: tuple[ObjectError, ...],
) -> None:
    told(feed, *before)
    batch = told(feed, message)
    assert (batch.errors, batch.standing) == (new, standing), promise


@pytest.fixture
def two() -> Iterator[ClusterFeed]:
    """Of two kinds, without reflectors."""
    with ClusterFeed(Mock(ApiServer), ()) as made:
        made._unlisted = {Node: "/api/v1/nodes", Pod: "/api/v1/pods"}
        yield made


def test_a_kind_that_was_not_read_is_waited_for_and_named(two: ClusterFeed) -> None:
    batch = told(two, Listed(Node, {}, {}))
    assert not batch.synced
    assert batch.waiting == ("Pod: /api/v1/pods is being read",)
    assert batch.unread == {}


def test_trouble_is_waited_out_and_a_refusal_is_not(two: ClusterFeed) -> None:
    batch = told(two, Listed(Node, {}, {}), Trouble(Pod, "server/pods: 403 forbidden"))
    assert batch.waiting == ("Pod: server/pods: 403 forbidden",)
    assert not batch.synced
    batch = told(two, Trouble(Pod, "server/pods: 403 forbidden", refused=True))
    assert batch.synced
    assert (batch.waiting, batch.unread) == ((), {Pod: "server/pods: 403 forbidden"})
    assert "going on without Pod objects" in str(batch.standing[0])


def test_a_refused_kind_that_is_read_later_is_a_change_like_any_other(two: ClusterFeed) -> None:
    told(two, Listed(Node, {}, {}), Trouble(Pod, "server/pods: 403", refused=True))
    batch = told(two, Listed(Pod, {NAME: GOOD}, {}), Trouble(Pod, ""))
    assert [change.new for change in batch.changes] == [GOOD]
    assert (batch.unread, batch.standing, batch.synced) == ({}, (), True)


def test_a_kind_that_was_read_and_is_refused_later_is_not_unread(two: ClusterFeed) -> None:
    told(two, Listed(Node, {}, {}), Listed(Pod, {NAME: GOOD}, {}))
    batch = told(two, Trouble(Pod, "server/pods: 403", refused=True))
    assert (batch.changes, batch.unread, batch.synced) == ((), {}, True)
    assert [str(error) for error in batch.standing] == ["server/pods: 403"]


def test_an_optional_kind_that_is_refused_is_unread_unless_nothing_hangs_on_it() -> None:
    """Absent (404) is known not to be there; of what is refused (403) nothing is known."""
    with ClusterFeed(Mock(ApiServer), ()) as feed:
        feed._optional = {row.kind for row in RESOURCES if row.optional}
        feed._dispensable = {row.kind for row in RESOURCES if row.dispensable}
        feed._unlisted = dict.fromkeys(feed._optional, "/path")
        assert feed._unlisted.keys() == {ClusterNetworkPolicy, ServiceCIDR}
        no = "server/path: 403 forbidden"
        batch = told(feed, *(Trouble(kind, no, refused=True) for kind in feed._optional))
        assert batch.synced
        assert batch.unread == {ClusterNetworkPolicy: no}
        assert {each.object for each in batch.standing} == {"ClusterNetworkPolicy", "ServiceCIDR"}
        batch = told(feed, Absent(ClusterNetworkPolicy))
        assert (batch.unread, batch.changes) == ({}, ()), "there are none, as it turned out"
