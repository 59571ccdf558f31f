"""Manifests from files into the lab and out again."""

import json
from pathlib import Path

import pytest

from podwire_core.objects import ObjectName
from podwire_lab import applied
from podwire_lab.folders import Folders

GOOD = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
BAD = """
---
apiVersion: v1
kind: Service
metadata: {name: broken}
spec: {ports: [{port: 99999}]}
"""
UNKNOWN = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n"


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path / "lab")
    folders.manifests.mkdir(parents=True)
    return folders


def test_a_bad_object_is_named_with_file_and_field_and_the_rest_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(GOOD + BAD + UNKNOWN)
    read = applied.read([file])
    assert [str(each.name) for each in read.manifests] == ["shop/web"]
    mistake, ignored = read.errors
    assert (mistake.source, mistake.object) == (str(file), "Service default/broken")
    assert mistake.field == "spec.ports[0].port"
    assert (applied.is_ignored(mistake), applied.is_ignored(ignored)) == (False, True)


def test_a_folder_gives_its_manifests_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "d.txt"):
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}}
        (tmp_path / name).write_text(json.dumps(service))
    names = [each.name.name for each in applied.read([tmp_path]).manifests]
    assert names == ["a.yml", "b.yaml", "c.json"]


def test_a_file_that_is_not_there_is_an_error_and_no_exception(tmp_path: Path) -> None:
    (error,) = applied.read([tmp_path / "nowhere.yaml"]).errors
    assert str(error).endswith("nowhere.yaml: No such file or directory")


def test_what_is_applied_twice_stands_once_and_is_deleted_once(
    tmp_path: Path, folders: Folders
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(GOOD)
    manifests = applied.read([file]).manifests
    for _ in range(2):
        assert applied.apply(folders, manifests) == ("Service shop/web",)
    (stored,) = folders.manifests.iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert json.loads(stored.read_text())["spec"]["ports"] == [{"port": 80}]
    assert applied.delete(folders, manifests) == ("Service shop/web",)
    assert applied.delete(folders, manifests) == ()


def test_delete_by_name_takes_people_s_spellings_and_hints_at_what_is_there(
    tmp_path: Path, folders: Folders
) -> None:
    file = tmp_path / "web.yaml"
    file.write_text(GOOD)
    applied.apply(folders, applied.read([file]).manifests)
    kind = applied.kind_called("svc")
    assert kind == "Service"
    with pytest.raises(applied.NotApplied, match="there are shop/web"):
        applied.delete_named(folders, kind, ObjectName("default", "web"))
    assert applied.delete_named(folders, kind, ObjectName("shop", "web")) == "Service shop/web"


def test_a_typed_name_never_becomes_a_path(tmp_path: Path, folders: Folders) -> None:
    outside = tmp_path / "Service..json"
    outside.touch()
    with pytest.raises(applied.NotApplied):
        applied.delete_named(folders, "Service", ObjectName("..", "/../../Service."))
    assert outside.exists()
