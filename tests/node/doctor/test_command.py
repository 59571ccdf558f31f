"""`podwire doctor`'s options, and settings that it reads: mistakes are told, each in its way."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from podwire_node.cli import main
from podwire_node.doctor import checks
from podwire_node.doctor.finding import Check, Health, Patient
from podwire_node.doctor.settings import settings


@pytest.fixture(autouse=True)
def settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's is looked at."""
    monkeypatch.setattr(checks, "CHECKS", (Check("settings", settings),))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words])


def written(tmp_path: Path, text: str) -> str:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("text", ["proxyMode: ebfp\n", "components: [proxi]\n", "- a\n- list\n"])
def test_settings_that_say_wrongly_where_to_look_end_it_with_2(tmp_path: Path, text: str) -> None:
    done = run("--config", written(tmp_path, text))
    assert done.exit_code == 2
    assert "agent.yaml" in done.output


def test_a_file_that_is_not_there_ends_it_with_2(tmp_path: Path) -> None:
    done = run("--config", str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    assert "cannot be read" in done.output


def test_a_misspelt_setting_is_a_warning_that_names_it(tmp_path: Path) -> None:
    done = run("--config", written(tmp_path, "ebpfCgrop: /x\nmtu: much\n"), "--json")
    assert done.exit_code == 0
    assert "'ebpfCgrop' is no setting: did you mean ebpfCgroup?" in done.output
    assert "mtu: 'much'" in done.output, "one that doctor does not need"
    assert '"health": "warn"' in done.output


def test_a_misspelt_variable_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PODWIRE_EBPF_CGROP", "/x")
    done = run("--json")
    assert "did you mean PODWIRE_EBPF_CGROUP?" in done.output
    assert "an agent starts all the same" in done.output


def test_settings_that_an_agent_gets_as_flags_are_not_missed(tmp_path: Path) -> None:
    done = run("--config", written(tmp_path, "proxyMode: auto\n"), "--json")
    assert '"health": "ok"' in done.output, "neither node nor feed are in the file"
    assert settings(Patient(None)).health is Health.UNUSED


def test_one_agent_is_asked_and_help_says_so() -> None:
    assert "One alone is asked." in " ".join(run("--help").output.split())
    done = run("--socket", "/a", "--socket", "/b")
    assert done.exit_code == 2
    assert "several" in " ".join(CliRunner().invoke(main, ["observe", "--help"]).output.split())
