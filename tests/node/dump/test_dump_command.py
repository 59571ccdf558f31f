"""`podwire dump ebpf` and its mistakes; agents that have no maps say why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from podwire_node.cli import main
from podwire_node.control.request import Request
from podwire_node.control.server import Control
from podwire_node.dump.names import Name, PlaceName

NFTABLES = PlaceName(node="node1", asked="nftables", backend="nftables")
WITHOUT = PlaceName(node="node3")
EARLIER = PlaceName("/nonexistent/earlier")


def dump(*words: str) -> Result:
    return CliRunner().invoke(main, ["dump", "ebpf", *words])


def answers(path: Path, *names: Name) -> Control:
    def verb(_: Request) -> Iterator[Name]:
        yield from names

    return Control(path, {"names": verb})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--service", "api"], "--service api: write NS/NAME, as shop/api"),
        (["--service", "/api"], "write NS/NAME"),
        (["addresses", "--service", "shop/x"], "addresses knows no Services; these do: frontends"),
        (["counters", "--address", "10.0.0.1"], "counters knows no addresses"),
        (["--address", "10.0.0"], "--address: "),
        (["--socket", "/a", "--socket", "/b", "--folder", "/c"], "--folder is one agent's"),
    ],
)
def test_a_filter_that_nothing_can_fit_is_a_mistake(words: list[str], sentence: str) -> None:
    done = dump(*words)
    assert done.exit_code == 2
    assert sentence in done.output


def test_services_are_not_chosen_without_names(tmp_path: Path) -> None:
    done = dump("--service", "shop/api", "--socket", str(tmp_path / "none.sock"))
    assert done.exit_code == 1
    assert "--service needs the agent's names" in done.output


def test_an_agent_of_nftables_says_that_it_serves_by_nftables_and_why(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with closing(answers(path, NFTABLES)):
        done = dump("--socket", str(path))
    assert done.exit_code == 1
    assert "node1: nftables serves Services here: its proxyMode is nftables" in done.output


def test_an_agent_that_fell_back_says_why_before_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    fell = PlaceName(str(tmp_path), "node2", "auto", "nftables", "this kernel has no bpf(2)")
    with closing(answers(path, fell)):
        done = dump("--socket", str(path))
    assert done.exit_code == 1
    assert "node2: nftables serves Services here: this kernel has no bpf(2)\n" in done.output
    assert "no maps of this version are pinned" in done.output


def test_each_of_several_agents_is_told_of(tmp_path: Path) -> None:
    one, two, none = (str(tmp_path / f"{name}.sock") for name in ("one", "two", "none"))
    words = ["--socket", one, "--socket", two, "--socket", none]
    with closing(answers(Path(one), NFTABLES)), closing(answers(Path(two), WITHOUT)):
        people, programs = dump(*words), dump(*words, "--json")
    assert people.exit_code == programs.exit_code == 1
    heads = [part.split("\n")[:2] for part in people.output.split("\n\n")]
    assert [head for head, _ in heads] == ["node1", "node3", none]
    assert "nftables serves Services" in heads[0][1]
    assert "it has no component proxy" in heads[1][1]
    assert "no agent listens here" in heads[2][1]
    documents = json.loads("[" + programs.output.replace("\n}\n{", "\n},{") + "]")
    assert [each["node"] for each in documents] == ["node1", "node3", ""]
    assert [bool(each["problem"]) for each in documents] == [True] * 3


def test_an_agent_of_an_earlier_version_tells_its_folder_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with closing(answers(path, EARLIER)):
        done = dump("--socket", str(path))
    assert done.exit_code == 1
    assert "/nonexistent/earlier" in done.output
    assert "nftables serves" not in done.output
