"""Manifests from files into the lab and out again."""

import json
from pathlib import Path

import pytest

from podwire_core.objects import ObjectName
from podwire_lab import applied
from podwire_lab.folders import Folders
from podwire_lab.topology import plan_lab

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
    assert applied.delete_named(folders, kind, ObjectName("shop", "web")) == ("Service shop/web",)


def test_a_typed_name_never_becomes_a_path(tmp_path: Path, folders: Folders) -> None:
    outside = tmp_path / "Service..json"
    outside.touch()
    with pytest.raises(applied.NotApplied):
        applied.delete_named(folders, "Service", ObjectName("..", "/../../Service."))
    assert outside.exists()


IN_SHOP = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: web.1, namespace: shop}
spec: {containers: [{name: main}]}
---
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: default}
"""


@pytest.mark.parametrize("by", ["its name", "its file", "its name alone"])
def test_a_namespace_takes_along_what_was_applied_in_it(
    by: str, tmp_path: Path, folders: Folders
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD + "---" + IN_SHOP)
    manifests = applied.read([file]).manifests
    namespace = [each for each in manifests if each.kind == "Namespace"]
    applied.apply(folders, manifests)
    if by == "its name alone":
        (folders.manifests / "Namespace..shop.json").unlink()
    if by == "its file":
        gone = applied.delete(folders, namespace)
    else:
        gone = applied.delete_named(folders, "Namespace", ObjectName("default", "shop"))
    own = () if by == "its name alone" else ("Namespace shop",)
    assert gone == (*own, "Pod shop/web.1", "Service shop/web")
    assert [left.name for left in folders.manifests.iterdir()] == ["Service.default.shop.json"]


def test_a_namespace_without_a_name_takes_nothing_along(tmp_path: Path, folders: Folders) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(IN_SHOP)
    applied.apply(folders, applied.read([file]).manifests)
    with pytest.raises(applied.NotApplied):
        applied.delete_named(folders, "Namespace", ObjectName("default", ""))


def test_a_pod_of_a_deployment_is_not_deleted_and_its_owner_is_named(folders: Folders) -> None:
    folders.objects.mkdir()
    pod = {
        "metadata": {
            "name": "web-x",
            "namespace": "shop",
            "ownerReferences": [{"kind": "Deployment", "name": "web"}],
        },
        "spec": {"containers": [{"name": "main"}]},
    }
    (folders.objects / "Pod.shop.web-x.json").write_text(json.dumps(pod))
    with pytest.raises(applied.NotApplied, match=r"belongs to Deployment web.*deploy/web -n shop"):
        applied.delete_named(folders, "Pod", ObjectName("shop", "web-x"))


@pytest.mark.parametrize("field", ["apiVersion", "kind"])
def test_a_document_without_a_kind_is_a_mistake_and_not_ignored(field: str, tmp_path: Path) -> None:
    document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    del document[field]
    file = tmp_path / "web.json"
    file.write_text(json.dumps(document))
    (error,) = applied.read([file]).errors
    assert (error.field, error.reason) == (field, "is missing")
    assert not applied.is_ignored(error)


def test_what_is_ignored_is_named_with_its_api_version(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(UNKNOWN)
    (error,) = applied.read([file]).errors
    assert error.reason == "is ignored: a lab does not know v1 ConfigMap"


@pytest.mark.parametrize("name", ["x" * 64, "a\n", "", "a/b"])
def test_a_container_s_name_that_is_no_dns_label_is_refused(name: str, tmp_path: Path) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": name}]},
    }
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(pod))
    (error,) = applied.read([file]).errors
    assert error.field == "spec.containers[0].name"


@pytest.mark.parametrize("name", ["lab\n", "a" * 21, "-a", ""])
def test_a_lab_s_name_is_a_short_dns_label(name: str) -> None:
    with pytest.raises(ValueError, match="lab name"):
        plan_lab(name, 1)


def test_of_two_who_make_one_lab_the_second_is_refused(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "labs" / "lab")
    folders.claim()
    with pytest.raises(FileExistsError):
        folders.claim()
