"""`podwire policy audit` and its mistakes, which need no agent."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import small_shop
from click.testing import CliRunner
from rich.console import Console

from podwire_node.cli import main
from podwire_node.policy_audit.answer import Audit, PolicyRow, Row
from podwire_node.policy_audit.shown import MAX_POLICIES, MAX_SHOWN, shown


def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
    done = CliRunner().invoke(main, ["policy", "audit", *arguments], input=stdin)
    assert "Traceback" not in done.output
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("kind: [", "is not YAML"),
        ("", "holds no policy"),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}",
            "holds no policy, but 1 Namespace",
        ),
        (
            (
                "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: x}\n"
                "spec: {policyTypes: [Both]}"
            ),
            "NetworkPolicy default/x: spec.policyTypes[0]: Invalid enum value 'Both'",
        ),
    ],
)
def test_a_file_that_cannot_be_judged_is_named_with_object_and_field(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "deny.yaml"
    file.write_text(text)
    code, output = run(str(file))
    assert code == 2
    assert f"{file}: " in output
    assert sentence in output
    code, output = run("-", stdin=text)
    assert code == 2
    assert sentence in output


def test_a_file_that_is_not_there_is_an_error_and_no_denial() -> None:
    code, output = run("/nowhere/at/all.yaml")
    assert code == 2
    assert "/nowhere/at/all.yaml: No such file" in output


def test_it_asks_for_a_file_or_a_name() -> None:
    code, output = run()
    assert code == 2
    assert "name a FILE of policies, or what to --delete" in output


def test_without_an_agent_it_says_so(tmp_path: Path) -> None:
    file = tmp_path / "deny.json"
    file.write_text(json.dumps(small_shop.policy("shop/deny", None)))
    code, output = run(str(file), "--socket", str(tmp_path / "none.sock"))
    assert code == 2
    assert "no agent listens here" in output


def test_the_help_has_examples_and_exit_codes() -> None:
    output = CliRunner().invoke(main, ["policy", "audit", "--help"]).output
    assert "Examples:" in output
    assert "1  something would be" in output


def _row(number: int = 1, **fields: str) -> Row:
    return Row("shop/web", "shop/api-1", 80, "TCP", number, "10.0.0.1 → 10.0.0.2", "why", **fields)


def read(found: Audit) -> str:
    printed = io.StringIO()
    console = Console(file=printed, width=80)
    for each in shown(found):
        console.print(each)
    assert max(map(len, printed.getvalue().splitlines())) <= 80
    return " ".join(printed.getvalue().replace("│", " ").split())


def test_what_would_be_denied_comes_first_and_the_counts_last() -> None:
    policies = (PolicyRow("NetworkPolicy", "shop/deny", "new", 1, ("spec.x",)),)
    rows = (_row(3, nearest_miss="almost"),)
    text = read(Audit("n1", 10, 3, 1, 4, 2, rows, (_row(),), policies, ("a note",)))
    places = [
        text.index(words)
        for words in ("selects 1 pod", "a note", "Would be denied", "nearest: almost")
    ]
    places += [
        text.index("Would be allowed"),
        text.index("3 would be denied"),
    ]
    assert places == sorted(places)
    assert "4 stay allowed, 2 stay denied; of 10 connections that n1 has seen" in text


def test_a_node_that_has_seen_nothing_says_so() -> None:
    assert "has seen no connection" in read(Audit("n1", 0, 0, 0, 0, 0))


def test_many_rows_are_cut_and_that_is_said() -> None:
    text = read(Audit("n1", 99, 99, 0, 0, 0, (_row(),) * (MAX_SHOWN + 5)))
    assert "and 5 rows more, which --json has" in text


def test_many_policies_are_cut_and_that_is_said() -> None:
    policies = (PolicyRow("NetworkPolicy", "shop/deny", "new", 1),) * (MAX_POLICIES + 3)
    assert "and 3 policies more" in read(Audit("n1", 1, 0, 0, 1, 0, policies=policies))


def test_a_rules_name_cannot_drive_a_terminal(tmp_path: Path) -> None:
    wild = "\x1b[2J rule \x07"
    row = Row("outside", "shop/db", 80, "TCP", 1, "[fd00::1] → [fd00::2]:80", wild, f"near {wild}")
    policy = PolicyRow("ClusterNetworkPolicy", "lock", "new", 1, (f"spec.{wild}",))
    found = Audit("n1", 1, 1, 0, 0, 0, (row,), (), (policy,), (wild,))
    text = read(found)
    assert "[fd00::1]" in text, "an address is no markup"
    assert text.replace("\n", "").isprintable()
    file = tmp_path / "other.yaml"
    file.write_text('{kind: "\\e[2J", apiVersion: v1, metadata: {name: x}}')
    code, output = run(str(file))
    assert code == 2
    assert output.replace("\n", "").isprintable()
