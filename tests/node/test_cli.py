from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from podwire_node.cli import main
from podwire_node.settings.rows import SETTINGS


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of whoever runs the tests counts."""
    for row in SETTINGS:
        for name in row.variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("PODWIRE_CONFIG", raising=False)


def test_help_shows_examples_and_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "Examples:" in result.output
    for command in ("agent", "cleanup", "config", "lab", "proxy"):
        assert f"\n  {command} " in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["agent"], "node: is needed: give --node, PODWIRE_NODE, NODE_NAME, or node in the file"),
        (["agent", "--node", "n", "--feed", "/nowhere/at/all"], "give a folder of manifests"),
        (["agent", "--node", "a b", "--feed", "/nowhere/at/all"], "is no node name"),
        (["agent", "--node", "n", "--feed", "/x", "--kubeconfig", "/k"], "needs feed kubernetes"),
        (["agent", "--node", "n", "--feed", "/x", "--mtu", "x", "--routing", "y"], "--routing"),
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


@pytest.mark.parametrize("command", ["agent", "config"])
def test_help_names_every_setting_in_its_group(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).output
    assert "DIR|kubernetes" in text
    for row in SETTINGS:
        assert f"  {row.flag} " in text
        assert f"\n{row.group}:\n" in text


def test_config_shows_values_and_where_they_came_from(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("feed: kubernetes\nrouting: vxlan\n")
    arguments = ["config", "--config", str(path), "--node", "n1"]
    result = CliRunner(env={"PODWIRE_MTU": "1400"}).invoke(main, [*arguments, "--json"])
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert found["mistakes"] == []
    assert found["settings"]["node"] == {"value": "n1", "from": "--node"}
    assert found["settings"]["mtu"] == {"value": 1400, "from": "PODWIRE_MTU"}
    assert found["settings"]["routing"] == {"value": "vxlan", "from": f"file {path}"}
    assert found["settings"]["vxlanId"] == {"value": 112, "from": "default"}
    assert found["settings"].keys() == {row.key for row in SETTINGS}
    table = CliRunner().invoke(main, arguments, terminal_width=200)
    assert table.exit_code == 0
    assert "routing" in table.output


def test_config_names_all_mistakes_and_fails() -> None:
    arguments = ["config", "--mtu", "5", "--vxlan-id", "no"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert result.output.count("Error: ") == 4
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == 1
    assert len(json.loads(result.output)["mistakes"]) == 4


def test_a_wrong_value_is_never_shown_as_another_one() -> None:
    arguments = ["config", "--mtu", "5", "--node", "n1"]
    environ = {"PODWIRE_VXLAN_ID": "no"}
    found = json.loads(CliRunner(env=environ).invoke(main, [*arguments, "--json"]).output)
    assert found["settings"]["mtu"] == {"value": None, "from": "--mtu", "wrong": True}
    assert found["settings"]["vxlanId"] == {
        "value": None,
        "from": "PODWIRE_VXLAN_ID",
        "wrong": True,
    }
    assert found["settings"]["feed"] == {"value": None, "from": "", "wrong": True}
    wide = CliRunner(env={**environ, "COLUMNS": "200"})
    lines = wide.invoke(main, arguments).output.splitlines()
    rows = {line.split()[1]: line for line in lines if line.startswith("│")}
    assert "—" in rows["mtu"]
    assert "--mtu: wrong, see below" in rows["mtu"]
    assert "PODWIRE_VXLAN_ID: wrong, see below" in rows["vxlanId"]
    assert "is needed" in rows["feed"]


def test_a_file_that_cannot_be_read_gives_no_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["config", "--config", str(tmp_path / "none.yaml")])
    assert result.exit_code == 1
    assert (
        result.output == f"Error: {tmp_path}/none.yaml: cannot be read: No such file or directory\n"
    )


def test_a_variable_that_is_no_setting_is_warned_of_and_stops_no_agent() -> None:
    environ = {"PODWIRE_VXLAN_PORTT": "1"}
    arguments = ["config", "--node", "n", "--feed", "x"]
    result = CliRunner(env=environ).invoke(main, arguments)
    assert result.exit_code == 0
    warning = "'PODWIRE_VXLAN_PORTT' is no setting: did you mean PODWIRE_VXLAN_PORT?"
    assert result.output.endswith(f"Warning: {warning}\n")
    found = json.loads(CliRunner(env=environ).invoke(main, [*arguments, "--json"]).output)
    assert found["warnings"] == [warning]


def test_markup_in_a_value_is_shown_as_it_is() -> None:
    result = CliRunner().invoke(main, ["config", "--node", "n1", "--feed", "/[bold]x[/]"])
    assert "/[bold]x[/]" in result.output


def test_verbose_is_the_most_detailed_level() -> None:
    result = CliRunner().invoke(main, ["config", "--node", "n", "--feed", "x", "-v", "--json"])
    assert json.loads(result.output)["settings"]["logLevel"]["value"] == "debug"
