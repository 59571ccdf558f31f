"""The control plane's files: what it reads, what it writes, and that it writes no more."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import msgspec
import pytest

from podwire_core.files import write_json
from podwire_lab.control.controller import Inputs, Outputs
from podwire_lab.control.desired import desired
from podwire_lab.folders import Folders
from podwire_lab.report import PodReport
from podwire_lab.topology import plan_lab

NOW = "2030-01-01T00:00:00.000000Z"
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "a", "namespace": "shop"},
    "spec": {"ports": [{"port": 80}]},
}


@pytest.fixture
def folders(tmp_path) -> Folders:
    folders = Folders(tmp_path / "lab")
    folders.claim()
    folders.fill(plan_lab("lab", 2))
    return folders


@pytest.fixture
def inputs(folders):
    with Inputs(folders, ["node1", "node2"]) as inputs:
        yield inputs


def publish(folders: Folders, inputs: Inputs) -> None:
    outputs = Outputs(folders)
    result = desired(folders.load(), [*inputs.manifests.found()], [], outputs.objects, NOW)
    outputs.publish(result.objects, inputs.errors() + result.errors)


def test_a_manifest_that_comes_changes_and_goes_is_followed(folders, inputs):
    file = folders.manifests / "Service.shop.a.json"
    write_json(file, SERVICE)
    inputs.wait()
    assert [str(each.name) for each in inputs.manifests.found()] == ["shop/a"]
    file.unlink()
    inputs.wait()
    assert list(inputs.manifests.found()) == []


def test_reports_of_every_node_are_followed(folders, inputs):
    report = PodReport("shop", "a", "uid")
    write_json(folders.reports / "node2" / "shop.a.json", report)
    inputs.wait()
    assert [row for folder in inputs.reports for row in folder.found()] == [report]


def test_a_manifest_that_turns_bad_keeps_what_it_last_gave(folders, inputs):
    file = folders.manifests / "Service.shop.a.json"
    write_json(file, SERVICE)
    inputs.wait()
    write_json(file, {**SERVICE, "spec": {"ports": [{"port": 0}]}})
    inputs.wait()
    assert [str(each.name) for each in inputs.manifests.found()] == ["shop/a"]
    (error,) = inputs.errors()
    assert (error.object, error.field) == ("Service shop/a", "spec.ports[0].port")


def test_problems_are_published_by_object_and_field(folders, inputs):
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    write_json(folders.manifests / "x.json", document)
    inputs.wait()
    publish(folders, inputs)
    (problem,) = json.loads((folders.root / "problems.json").read_text())
    assert set(problem) == {"source", "object", "field", "reason"}
    assert (problem["object"], problem["field"]) == ("ConfigMap default/x", "kind")


def test_a_second_pass_and_a_restart_write_nothing(folders, inputs):
    write_json(folders.manifests / "Service.shop.a.json", SERVICE)
    inputs.wait()
    publish(folders, inputs)
    before = {path: path.stat().st_ino for path in folders.objects.iterdir()}
    assert folders.objects / "Service.shop.a.json" in before
    publish(folders, inputs)
    assert {path: path.stat().st_ino for path in folders.objects.iterdir()} == before


def test_objects_that_nobody_wants_any_more_are_deleted(folders, inputs):
    write_json(folders.objects / "Service.shop.old.json", SERVICE)
    (folders.objects / "broken.json").write_text("{")
    publish(folders, inputs)
    assert not (folders.objects / "Service.shop.old.json").exists()
    assert not (folders.objects / "broken.json").exists()


PROGRAM = """
import sys
from pathlib import Path
from podwire_lab import folders
from podwire_lab.control import controller
folders.ROOT = Path(sys.argv.pop(1))
controller.main()
"""


def test_the_process_publishes_and_ends_with_zero_on_sigterm(folders):
    arguments = [str(folders.root.parent), "--lab", folders.root.name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as process:
        lines = []
        while not (lines and b"Service.kube-system.kube-dns" in lines[-1]):
            assert select.select([process.stderr], [], [], 20)[0], lines
            lines.append(process.stderr.raw.readline())
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert msgspec.json.decode((folders.objects / "Node..node1.json").read_bytes())
