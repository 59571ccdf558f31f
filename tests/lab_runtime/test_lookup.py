"""Which pod a person means."""

import msgspec
import pytest

from podwire_lab.lookup import NoSuchPod, find_pod, owners_of
from podwire_lab.workloads import LabPod


def pod(namespace: str, name: str, owner: str = "", *, ready: bool = False) -> LabPod:
    kind, _, owner_name = owner.partition("/")
    row = {
        "metadata": {
            "namespace": namespace,
            "name": name,
            "ownerReferences": [{"kind": kind, "name": owner_name}] if owner else None,
        },
        "spec": {"containers": [{"name": "main"}]},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}]},
    }
    return msgspec.convert(row, LabPod)


PODS = (
    pod("default", "web"),
    pod("default", "web-admin"),
    pod("shop", "api-x2k9q", "Deployment/api"),
    pod("shop", "api-zzzzz", "Deployment/api", ready=True),
    pod("shop", "db-0", "StatefulSet/db"),
    pod("test", "db-0", "StatefulSet/db"),
)


@pytest.mark.parametrize(
    ("wanted", "namespace", "found"),
    [
        pytest.param("web", None, "default/web", id="an exact name goes before a beginning"),
        pytest.param("web-", None, "default/web-admin", id="a beginning that only one has"),
        pytest.param("shop/db-0", None, "shop/db-0", id="namespace and name"),
        pytest.param("db-0", "test", "test/db-0", id="the namespace as an option"),
        pytest.param("pod/web", None, "default/web", id="kind and name"),
        pytest.param("deploy/api", None, "shop/api-zzzzz", id="the first ready pod of an owner"),
        pytest.param("sts/db", "shop", "shop/db-0", id="an owner in a namespace"),
    ],
)
def test_a_pod_is_found(wanted: str, namespace: str | None, found: str) -> None:
    assert str(find_pod(wanted, PODS, namespace).name) == found


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        pytest.param("api", "could be shop/api-x2k9q, shop/api-zzzzz", id="two begin so"),
        pytest.param("db-0", "could be shop/db-0, test/db-0", id="two namespaces have one"),
        pytest.param("wed", "did you mean default/web", id="a slip of the finger"),
        pytest.param("deploy/web", "with pods there are api", id="no such owner"),
        pytest.param("nowhere/web", "there are no pods there", id="an empty namespace"),
    ],
)
def test_a_pod_that_is_not_found_has_near_names(wanted: str, message: str) -> None:
    with pytest.raises(NoSuchPod, match=message):
        find_pod(wanted, PODS)


@pytest.mark.parametrize(
    ("labels", "owner", "found"),
    [
        pytest.param({"pod-template-hash": "5c66"}, "api-5c66", "api", id="a real Deployment's"),
        pytest.param({}, "api-5c66", None, id="a ReplicaSet that its user wrote"),
        pytest.param({"pod-template-hash": "77"}, "api-5c66", None, id="another template's hash"),
        pytest.param({"pod-template-hash": ""}, "api-", None, id="an empty hash"),
    ],
)
def test_a_replica_sets_pod_is_its_deployments(
    labels: dict[str, str], owner: str, found: str | None
) -> None:
    one = pod("shop", "api-5c66-x2k9q", f"ReplicaSet/{owner}")
    one = msgspec.structs.replace(
        one, metadata=msgspec.structs.replace(one.metadata, labels=labels)
    )
    assert [each.name for each in owners_of(one) if each.kind == "Deployment"] == (
        [found] if found else []
    )
    assert owners_of(one)[0].name == owner
