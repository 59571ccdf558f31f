"""The fake refuses what the kernel refuses (integration/core asks the kernel the same rows)."""

from __future__ import annotations

import pytest
from nft_refusals import BASE, ROWS, TABLE, TCP_VIP, V4, Row, add, base

from podwire_core.errors import NftError
from podwire_core.nft.fake import Fake
from podwire_core.nft.objects import Chain, Rule
from podwire_core.nft.statements import Dnat


@pytest.fixture
def fake() -> Fake:
    made = Fake()
    made.commit(base())
    return made


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.promise)
def test_the_fake_judges_like_the_kernel(fake: Fake, row: Row) -> None:
    before = fake.read([TABLE])
    if row.refused is None:
        fake.commit(row.transaction)
        return
    with pytest.raises(NftError, match=row.refused):
        fake.commit(row.transaction)
    assert fake.read([TABLE]) == before


def test_what_was_committed_can_be_read_back(fake: Fake) -> None:
    assert fake.read([TABLE]) == {each.key: each.fingerprint for each in BASE}


def test_a_flushed_ruleset_holds_nothing(fake: Fake) -> None:
    fake.flush_ruleset()
    assert fake.read([TABLE]) == {}


def test_a_copy_goes_its_own_way(fake: Fake) -> None:
    other = fake.copy()
    other.flush_ruleset()
    assert fake.read([TABLE])


def test_two_maps_for_one_port_are_refused_before_they_end_the_process(fake: Fake) -> None:
    both = Dnat(V4, TCP_VIP, "endpoints", ports="endpoints")
    with pytest.raises(NftError, match="has ports already"):
        fake.commit(add(Chain(TABLE, "c", (Rule((both,)),))))
