"""The kernel judges as the fake does, lists what it was given, and tells of others' changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nft_refusals import BASE, PICK, POD, ROWS, SLOT, TABLE, Row, add, base, delete
from scratch import Netns

from podwire_core.errors import NftError
from podwire_core.family import Family
from podwire_core.nft.kernel import Kernel
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Element, Key, Object, Table
from podwire_core.nft.owner import Owner

WANTED: dict[Key, Object] = {each.key: each for each in BASE}


@pytest.fixture
def kernel(kernel: Kernel) -> Kernel:
    kernel.commit(base())
    return kernel


@pytest.fixture
def owner(kernel: Kernel) -> Owner:
    made = Owner(kernel, [TABLE])
    made.adopt()
    return made


@pytest.fixture
def monitor(home: Netns, kernel: Kernel) -> Iterator[Monitor]:
    del kernel  # what the kernel fixture commits is not news
    with home.inside():
        made = Monitor([TABLE])
    yield made
    made.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.promise)
def test_the_kernel_judges_like_the_fake(kernel: Kernel, row: Row) -> None:
    before = kernel.read([TABLE])
    if row.refused is None:
        kernel.commit(row.transaction)
        return
    with pytest.raises(NftError, match=row.refused):
        kernel.commit(row.transaction)
    assert kernel.read([TABLE]) == before


def test_the_kernel_lists_what_it_was_given(kernel: Kernel) -> None:
    assert kernel.read([TABLE]) == {key: each.fingerprint for key, each in WANTED.items()}


def test_a_table_that_is_not_there_holds_nothing(kernel: Kernel) -> None:
    assert kernel.read([Table(Family.IPV6, "podwire-test")]) == {}


def test_an_adopted_table_that_is_right_gets_no_transaction(owner: Owner) -> None:
    assert not owner.sync(WANTED)
    assert owner.commits == 0


@pytest.mark.parametrize(
    "meddling",
    [
        "flush ruleset",
        "flush chain ip podwire-test forward",
        "delete element ip podwire-test pods { 10.244.1.5 }",
        "add element ip podwire-test pods { 10.9.9.9 }",
        "add rule ip podwire-test forward drop",
        "insert rule ip podwire-test forward accept",
        "add chain ip podwire-test extra { type filter hook input priority 0; }",
        "add set ip podwire-test extra { type ipv4_addr; }",
        "delete table ip podwire-test",
        "add element ip podwire-test cidrs { 192.168.0.0-192.168.0.9 }",
        "add set ip podwire-test extra { typeof ct status ; elements = { snat | dnat } ; }",
        "add set ip podwire-test extra { type ifname ; flags interval ; elements = { eth* } ; }",
        "add map ip podwire-test extra { type mark : verdict ; elements = { 7 : goto pick } ; }",
        "add table ip podwire-test { flags dormant ; }",
        "rename chain ip podwire-test pick stolen",
    ],
)
def test_whatever_others_do_is_noticed_and_undone(
    home: Netns, owner: Owner, kernel: Kernel, monitor: Monitor, meddling: str
) -> None:
    assert not monitor.foreign(0)
    home.run("nft", *meddling.split(" "))
    assert monitor.foreign(0)
    owner.adopt()
    assert owner.sync(WANTED)
    assert kernel.read([TABLE]) == {key: each.fingerprint for key, each in WANTED.items()}
    assert not monitor.foreign(owner.commits)


def test_a_set_that_became_another_is_rebuilt_with_its_table(
    home: Netns, owner: Owner, kernel: Kernel
) -> None:
    home.run("nft", "flush", "chain", "ip", "podwire-test", "forward")
    home.run("nft", "delete", "set", "ip", "podwire-test", "cidrs")
    home.run("nft", "add set ip podwire-test cidrs { type ipv4_addr; }")
    owner.adopt()
    owner.sync(WANTED)
    assert kernel.read([TABLE]) == {key: each.fingerprint for key, each in WANTED.items()}


def test_our_own_commits_are_not_news(owner: Owner, monitor: Monitor) -> None:
    owner.change({POD.key: None})
    owner.change({POD.key: POD, SLOT.key: None})
    owner.change({PICK.key: PICK})
    assert owner.commits == 2
    assert not monitor.foreign(2)


def test_what_happens_in_other_tables_is_not_our_business(home: Netns, monitor: Monitor) -> None:
    home.run("nft", "add table ip someone; add chain ip someone c; add rule ip someone c accept")
    assert not monitor.foreign(0)


def test_an_announcement_that_was_lost_counts_as_foreign(home: Netns, kernel: Kernel) -> None:
    with home.inside():
        monitor = Monitor([TABLE], buffer_bytes=4096)
    lines = "\n".join(
        "add element ip podwire-test pods { "
        + ", ".join(f"10.{a}.{b}.{c}" for c in range(250))
        + " }"
        for a in range(4)
        for b in range(60)
    )
    kernel.commit(_Text(lines))  # type: ignore[arg-type]  # anything with a text commits
    assert monitor.foreign(1)
    assert not monitor.foreign(0)
    monitor.close()


class _Text:
    commands = ()

    def __init__(self, text: str) -> None:
        self.text = text


def test_a_chain_is_swept_when_nothing_leads_there(owner: Owner, kernel: Kernel) -> None:
    frontend = next(key for key in WANTED if key[2:4] == ("element", "frontends"))
    owner.change({PICK.key: None, frontend: None})
    assert PICK.key not in kernel.read([TABLE])
    assert PICK.key not in owner.in_force


def test_what_is_still_in_use_is_swept_later(home: Netns, owner: Owner, kernel: Kernel) -> None:
    home.run("nft", "add rule ip podwire-test prerouting jump pick")
    frontend = next(key for key in WANTED if key[2:4] == ("element", "frontends"))
    owner.change({PICK.key: None, frontend: None})
    assert PICK.key in kernel.read([TABLE])
    home.run("nft", "flush", "chain", "ip", "podwire-test", "prerouting")
    owner.change({POD.key: None})
    owner.change({Element(TABLE, "pods", ("10.0.0.1",)).key: Element(TABLE, "pods", ("10.0.0.1",))})
    assert PICK.key not in kernel.read([TABLE])


def test_ten_thousand_elements_are_one_command(owner: Owner) -> None:
    many = [Element(TABLE, "pods", (f"10.1.{n // 250}.{n % 250}",)) for n in range(10_000)]
    sent = owner.change({each.key: each for each in many})
    assert len(sent) == 10_000
    assert len(sent.text.splitlines()) == 1


def test_networks_of_every_size_are_listed_as_written(kernel: Kernel) -> None:
    networks = ["0.0.0.0/1", "128.0.0.0/9", "192.168.1.7", "200.1.0.0/16", "201.0.0.0/31"]
    rest = [Element(TABLE, "cidrs", (network,)) for network in networks[1:]]
    kernel.commit(delete(next(each for each in BASE if each.key[3:] == ("cidrs", "10.0.0.0/8"))))
    kernel.commit(add(*rest, Element(TABLE, "cidrs", (networks[0],))))
    listed = {key[4] for key in kernel.read([TABLE]) if key[2:4] == ("element", "cidrs")}
    assert listed == set(networks)
