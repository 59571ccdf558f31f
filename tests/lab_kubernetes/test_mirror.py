"""An API server's objects as a lab's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_core.errors import ObjectError
from podwire_core.feed.decode import decode_json
from podwire_core.objects import ObjectName
from podwire_core.snapshot import Change
from podwire_lab.folders import Folders
from podwire_lab.kubernetes.mirror import KINDS, RESOURCES, Files, document
from podwire_lab.workloads import LAB_KINDS

POD: dict[str, Any] = {
    "metadata": {
        "name": "web",
        "namespace": "shop",
        "uid": "u-1",
        "resourceVersion": "12",
        "labels": {"app": "web"},
        "annotations": {"a": "b"},
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-1", "uid": "u-0"}],
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}]},
    "status": {"phase": "Running", "somethingNew": [1, 2]},
}


def published(kind: str, raw: dict[str, Any]) -> dict[str, Any]:
    found = decode_json(json.dumps(raw).encode(), KINDS[kind], "test")
    return dict(msgspec.json.decode(document(found)))  # type: ignore[arg-type]  # a Mirrored


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    made.objects.mkdir()
    return made


def change(kind: str, raw: dict[str, Any] | None, name: ObjectName) -> Change:
    new = None if raw is None else decode_json(json.dumps(raw).encode(), KINDS[kind], "test")
    return Change(KINDS[kind], name, new)


def test_everything_goes_through_but_managed_fields() -> None:
    expected = {"apiVersion": "v1", "kind": "Pod", **POD}
    expected["metadata"] = {k: v for k, v in POD["metadata"].items() if k != "managedFields"}
    assert published("Pod", POD) == expected


def test_a_slice_keeps_what_only_slices_have() -> None:
    raw = {
        "metadata": {"name": "web-1", "namespace": "shop"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    }
    found = published("EndpointSlice", raw)
    assert found == {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", **raw}


def test_every_kind_that_a_lab_reads_is_mirrored() -> None:
    assert {kind for _, kind in LAB_KINDS} == set(KINDS)
    assert len({resource.path for resource in RESOURCES}) == len(LAB_KINDS)


def test_a_cluster_wide_object_has_no_namespace_in_its_files_name(folders: Folders) -> None:
    node = {"metadata": {"name": "node1"}, "spec": {}}
    Files(folders).take(change("Node", node, ObjectName("", "node1")))
    assert [file.name for file in folders.objects.iterdir()] == ["Node..node1.json"]


def test_an_object_that_did_not_change_is_not_written_again(folders: Folders) -> None:
    files, name = Files(folders), ObjectName("shop", "web")
    files.take(change("Pod", POD, name))
    before = (folders.objects / "Pod.shop.web.json").stat().st_ino
    files.take(change("Pod", POD, name))
    assert (folders.objects / "Pod.shop.web.json").stat().st_ino == before


def test_an_object_that_goes_takes_its_file_along(folders: Folders) -> None:
    files, name = Files(folders), ObjectName("shop", "web")
    files.take(change("Pod", POD, name))
    files.take(change("Pod", None, name))
    files.take(change("Pod", None, name))
    assert list(folders.objects.iterdir()) == []


def test_a_restart_takes_away_what_went_meanwhile(folders: Folders) -> None:
    (folders.objects / "Pod.shop.gone.json").write_text("{}")
    files = Files(folders)
    files.take(change("Pod", POD, ObjectName("shop", "web")))
    files.forget_others()
    assert [file.name for file in folders.objects.iterdir()] == ["Pod.shop.web.json"]


def test_a_name_too_long_for_a_file_is_a_problem_and_the_rest_goes_on(folders: Folders) -> None:
    files, long = Files(folders), "x" * 253
    raw = {"metadata": {"name": long, "namespace": "shop"}, "spec": {}}
    files.take(change("Service", raw, ObjectName("shop", long)))
    files.take(change("Pod", POD, ObjectName("shop", "web")))
    files.tell([ObjectError("https://api", "", "", "is away")])
    problems = json.loads((folders.root / "problems.json").read_bytes())
    assert [row["reason"][:9] for row in problems] == ["is away", "is too lo"]
    assert problems[1]["object"] == f"Service shop/{long}"
    files.take(change("Service", None, ObjectName("shop", long)))
    files.tell([])
    assert json.loads((folders.root / "problems.json").read_bytes()) == []
