"""Who gets which certificate, and what is in it."""

import base64
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from podwire_lab import folders
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import credentials
from podwire_lab.kubernetes.access import AGENT_ACCESS
from podwire_lab.topology import Lab, plan_lab

USERS = [
    ("admin", "podwire-admin", {"system:masters"}),
    ("controller-manager", "system:kube-controller-manager", set()),
    ("scheduler", "system:kube-scheduler", set()),
    ("kube-proxy", "system:kube-proxy", {"system:node-proxier"}),
    ("node2", "system:node:node2", {"system:nodes"}),
    (
        "agent",
        "system:serviceaccount:kube-system:podwire-lab",
        {"system:serviceaccounts", "system:serviceaccounts:kube-system"},
    ),
]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(folders, "ROOT", tmp_path)
    planned = plan_lab("certs", 2, kubernetes=True)
    where = Folders.of(planned.name)
    where.claim()
    where.fill(planned)
    credentials.write(planned)
    return planned


def files(lab: Lab) -> Path:
    return Folders.of(lab.name).kubernetes


def certificate(lab: Lab, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((files(lab) / name).read_bytes())


def of_kubeconfig(lab: Lab, who: str) -> x509.Certificate:
    config = msgspec.json.decode(credentials.kubeconfig(lab, who).read_bytes())
    data = config["users"][0]["user"]["client-certificate-data"]
    return x509.load_pem_x509_certificate(base64.b64decode(data))


def names(found: x509.Certificate) -> set[str]:
    value = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(each.value) for each in value}


def signed_by_the_authority(lab: Lab, found: x509.Certificate) -> bool:
    key = certificate(lab, "ca.crt").public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(found.signature, found.tbs_certificate_bytes, ec.ECDSA(SHA256()))
    return True


def test_all_files_are_for_their_owner_alone(lab: Lab) -> None:
    assert stat.S_IMODE(files(lab).stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files(lab).iterdir()}
    assert set(modes.values()) == {0o600}
    assert len(modes) >= 15


def test_the_authoritys_key_is_never_written(lab: Lab) -> None:
    assert not (files(lab) / "ca.key").exists()
    found = certificate(lab, "ca.crt")
    assert found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert not usage.digital_signature


def test_the_api_server_is_known_by_every_name_and_address(lab: Lab) -> None:
    found = certificate(lab, "apiserver.crt")
    assert names(found) == {
        *("192.168.100.1", "fd00:192:168:100::1", "127.0.0.1", "::1"),
        *("10.96.0.1", "fd00:10:96::1", "localhost"),
        *("kubernetes", "kubernetes.default", "kubernetes.default.svc"),
        "kubernetes.default.svc.cluster.local",
    }
    assert signed_by_the_authority(lab, found)


def test_a_kubelet_shows_its_nodes_name_and_addresses(lab: Lab) -> None:
    found = certificate(lab, "node2.crt")
    assert names(found) == {"node2", "192.168.100.12", "fd00:192:168:100::12"}
    assert signed_by_the_authority(lab, found)


@pytest.mark.parametrize("name", ["apiserver.crt", "node1.crt"])
def test_servers_may_only_serve(lab: Lab, name: str) -> None:
    purposes = certificate(lab, name).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(purposes.value) == [ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(("who", "user", "groups"), USERS, ids=[row[0] for row in USERS])
def test_everyone_is_a_user_of_their_own(lab: Lab, who: str, user: str, groups: set[str]) -> None:
    found = of_kubeconfig(lab, who)
    subject = found.subject
    assert [each.value for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == [user]
    organizations = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    assert {each.value for each in organizations} == groups
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not found.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert signed_by_the_authority(lab, found)


def test_a_kubeconfig_holds_all_it_needs(lab: Lab) -> None:
    config = msgspec.json.decode(credentials.kubeconfig(lab, "node1").read_bytes())
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://192.168.100.1:6443"
    assert (
        base64.b64decode(cluster["certificate-authority-data"])
        == (files(lab) / "ca.crt").read_bytes()
    )
    assert b"PRIVATE KEY" in base64.b64decode(config["users"][0]["user"]["client-key-data"])


def test_agents_get_the_verbs_they_use_and_no_others() -> None:
    role, binding = AGENT_ACCESS
    verbs = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    read = {"get", "list", "watch"}
    assert verbs == {
        **{("", each): read for each in ("nodes", "namespaces", "pods", "services")},
        ("discovery.k8s.io", "endpointslices"): read,
        **{("networking.k8s.io", each): read for each in ("networkpolicies", "servicecidrs")},
        ("policy.networking.k8s.io", "clusternetworkpolicies"): read,
        ("", "nodes/status"): {"patch"},
        ("", "events"): {"create", "get", "patch"},
    }
    (subject,) = binding["subjects"]
    account = f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    assert account == "system:serviceaccount:kube-system:podwire-lab"
