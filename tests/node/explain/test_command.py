"""`podwire explain` and its mistakes, which need no agent."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from podwire_node.cli import main
from podwire_node.explain.answer import Verdict
from podwire_node.explain.command import _EXIT


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["web/", "shop/api"], "'web/' is no name: write NAMESPACE/NAME"),
        (["shop/web", "shop/api:0"], "use a number from 1 to 65535"),
        (["shop/web", "shop/api", "--protocol", "icmp"], "use tcp, udp or sctp"),
        (["shop/web"], "Missing argument"),
    ],
)
def test_a_mistake_is_one_sentence_and_not_the_code_of_a_denial(
    arguments: list[str], sentence: str
) -> None:
    done = CliRunner().invoke(main, ["explain", *arguments])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "Traceback" not in done.output


def test_without_an_agent_it_says_so(tmp_path: Path) -> None:
    socket = str(tmp_path / "none.sock")
    done = CliRunner().invoke(main, ["explain", "shop/web", "shop/api:80", "--socket", socket])
    assert done.exit_code == 2
    assert "no agent listens here" in done.output


def test_every_verdict_has_its_exit_code_and_the_help_tells_them() -> None:
    assert set(_EXIT) == {str(each) for each in Verdict}
    output = CliRunner().invoke(main, ["explain", "--help"]).output
    for code in (0, 1, 2, 3):
        assert f"\n    {code}  " in output
    assert "Examples:" in output
