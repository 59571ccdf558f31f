from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from podwire_node.cli import main


def test_help_shows_examples_and_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output
    for command in ("agent", "lab"):
        assert f"\n  {command} " in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["agent"], "Missing option '--node'"),
        (["agent", "--node", "n", "--feed", "/nowhere/at/all"], "give a folder of manifests"),
        (["agent", "--node", "a b", "--feed", "/nowhere/at/all"], "is no node name"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_wrong_call_is_one_clear_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_the_version_is_the_distributions() -> None:
    assert "0.1.0" in CliRunner().invoke(main, ["--version"]).output


def test_agent_help_names_the_feed(tmp_path: Path) -> None:
    del tmp_path
    assert "DIR|kubernetes" in CliRunner().invoke(main, ["agent", "--help"]).output
