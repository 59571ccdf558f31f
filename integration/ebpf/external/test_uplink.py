"""Filters at a link: ours once, others' untouched, and nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from scratch import Netns
from uplink_stage import Stage

from podwire_ebpf import uplink
from podwire_ebpf.errors import BpfError, Unsupported


@pytest.fixture
def netns(new_netns: Callable[[], Netns]) -> Netns:
    """A node with the link `eth9`."""
    made = new_netns()
    made.ip(["link add eth9 type veth peer name other", "link set eth9 up"])
    return made


def filters(netns: Netns, side: str) -> list[dict[str, Any]]:
    """A side's filters, as tc tells them."""
    told = netns.run("tc", "-j", "filter", "show", "dev", "eth9", side)
    return [each for each in json.loads(told or "[]") if "options" in each]


def qdiscs(netns: Netns) -> list[str]:
    told = json.loads(netns.run("tc", "-j", "qdisc", "show", "dev", "eth9"))
    return [each["kind"] for each in told if each["kind"] != "noqueue"]


def test_programs_are_there_once(stage: Stage, netns: Netns) -> None:
    with netns.inside():
        assert uplink.attach("eth9", stage.external.programs)
        assert not uplink.attach("eth9", stage.external.programs)
        assert uplink.attached("eth9").whole
    assert len(filters(netns, "ingress")) == len(filters(netns, "egress")) == 1


def test_nothing_is_left_behind(stage: Stage, netns: Netns) -> None:
    with netns.inside():
        uplink.attach("eth9", stage.external.programs)
        assert uplink.detach("eth9")
        assert uplink.attached("eth9") == (0, 0)
        assert not uplink.detach("eth9")
    assert qdiscs(netns) == []


def test_a_half_of_it_is_made_whole(stage: Stage, netns: Netns) -> None:
    with netns.inside():
        uplink.attach("eth9", stage.external.programs)
        place = ("pref", "112", "handle", "112", "bpf")
        netns.run("tc", "filter", "del", "dev", "eth9", "egress", *place)
        assert not uplink.attached("eth9").whole
        assert uplink.attach("eth9", stage.external.programs)
        assert uplink.attached("eth9").whole


def test_other_programs_replace_what_is_there(stage: Stage, netns: Netns) -> None:
    """As a new version's would; by whatever name."""
    programs = stage.external.programs
    swapped = dict(zip(programs, reversed(programs.values()), strict=True))
    with netns.inside():
        uplink.attach("eth9", stage.external.programs)
        before = uplink.attached("eth9")
        assert uplink.attach("eth9", swapped)
        after = uplink.attached("eth9")
    assert set(before) & set(after) == set()
    assert len(filters(netns, "ingress")) == 1


def test_foreign_filters_stay(stage: Stage, netns: Netns) -> None:
    netns.run("tc", "qdisc", "add", "dev", "eth9", "clsact")
    match = ("protocol", "all", "bpf", "bytecode", "1,6 0 0 0", "flowid", "1:1")
    netns.run("tc", "filter", "add", "dev", "eth9", "ingress", "pref", "5", *match)
    netns.run("tc", "filter", "add", "dev", "eth9", "egress", "pref", "500", *match)
    with netns.inside():
        uplink.attach("eth9", stage.external.programs)
        uplink.detach("eth9")
    assert [each["pref"] for each in filters(netns, "ingress")] == [5]
    assert [each["pref"] for each in filters(netns, "egress")] == [500]
    assert qdiscs(netns) == ["clsact"]


def test_a_link_that_comes_again_has_none(stage: Stage, netns: Netns) -> None:
    with netns.inside():
        uplink.attach("eth9", stage.external.programs)
        netns.ip(["link del eth9", "link add eth9 type veth peer name other"])
        assert uplink.attached("eth9") == (0, 0)
        assert uplink.attach("eth9", stage.external.programs)


def test_all_links_are_cleaned(stage: Stage, netns: Netns) -> None:
    with netns.inside():
        for link in ("eth9", "other"):
            uplink.attach(link, stage.external.programs)
        assert sorted(uplink.remove()) == ["eth9", "other"]
        assert uplink.remove() == []


def test_an_ingress_qdisc_of_anothers_is_told(stage: Stage, netns: Netns) -> None:
    netns.run("tc", "qdisc", "add", "dev", "eth9", "ingress")
    with netns.inside(), pytest.raises(Unsupported, match="tc qdisc del dev eth9 ingress"):
        uplink.attach("eth9", stage.external.programs)
    assert qdiscs(netns) == ["ingress"]
    with netns.inside():
        assert not uplink.detach("eth9")


def test_a_link_that_is_not_there_is_told(stage: Stage, netns: Netns) -> None:
    with netns.inside(), pytest.raises(BpfError, match="link eth7 cannot be used"):
        uplink.attach("eth7", stage.external.programs)
    with netns.inside():
        assert not uplink.detach("eth7")
