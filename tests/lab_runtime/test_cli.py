"""What people type who come from kubectl, and what `podwire lab` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from podwire_lab import folders, overview
from podwire_lab.cli import lab
from podwire_lab.folders import Folders
from podwire_lab.topology import Lab, plan_lab

POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec: {containers: [{name: main, image: none}]}
"""


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The files of a lab of which nothing runs."""
    monkeypatch.setattr(folders, "ROOT", tmp_path / "labs")
    found = plan_lab("files", 2)
    Folders.of(found.name).claim()
    Folders.of(found.name).fill(found)
    return found


def run(*words: str) -> Result:
    return CliRunner(env={"PODWIRE_LAB": "files"}).invoke(lab, list(words))


def manifest(folder: Path, name: str, namespace: str = "default") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(POD % (name, namespace))
    return str(file)


@pytest.mark.usefixtures("planned")
def test_files_are_named_as_kubectl_has_it_or_without(tmp_path: Path) -> None:
    one, two = manifest(tmp_path, "one"), manifest(tmp_path, "two")
    assert (
        run("apply", "-f", one, two).output == "applied Pod default/one\napplied Pod default/two\n"
    )
    assert run("delete", "-f", one, "-f", two).output == (
        "deleted Pod default/one\ndeleted Pod default/two\n"
    )
    for command in ("apply", "delete"):
        nothing = run(command)
        assert nothing.exit_code == 2
        assert "name files" in nothing.output


@pytest.mark.usefixtures("planned")
def test_what_is_named_is_deleted_in_default_or_in_the_namespace_that_is_given(
    tmp_path: Path,
) -> None:
    run("apply", manifest(tmp_path, "web", "shop"))
    refused = run("delete", "pod/web")
    assert refused.exit_code == 1
    assert "no Pod default/web was applied here: there are shop/web" in refused.output
    assert run("delete", "pod/web", "-n", "shop").output == "deleted Pod shop/web\n"
    text = run("delete", "--help").output
    assert "default" in text
    assert "all are searched" not in text


@pytest.mark.parametrize("command", ["down", "status", "draw", "reach"])
def test_a_lab_s_name_that_stands_alone_is_hinted_at(command: str) -> None:
    found = run(command, "second")
    assert found.exit_code == 2
    assert "a lab is named with --name NAME" in found.output


def test_who_does_not_run_is_a_problem_with_last_words(planned: Lab) -> None:
    home = Folders.of(planned.name).node("node1")
    (home / "agent.log").write_text("started\nkilled by a test\n")
    kubelet = "its kubelet does not run: its pods go on, and none comes or goes"
    assert overview.look(planned).problems == (
        f"node1: {kubelet}",
        f"node2: {kubelet}",
        "node1: its agent does not run; it said last: killed by a test",
        "node2: its agent does not run",
    )
    assert run("status").exit_code == 0


def test_nodes_stand_in_zones_in_turn_and_a_zone_is_a_labels_value() -> None:
    zones = [node.zone for node in plan_lab("zoned", 3, zones=("a", "b")).nodes]
    assert zones == ["a", "b", "a"]
    assert {node.zone for node in plan_lab("plain", 2).nodes} == {""}
    refused = run("up", "--zones", "a,not a label")
    assert refused.exit_code == 2
    assert "'not a label' is no label's value" in refused.output
