"""What the control plane and the nodes' programs are started with."""

from pathlib import Path

import pytest

from podwire_lab import folders
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import credentials, plane, programs, proxy
from podwire_lab.machine import daemons
from podwire_lab.topology import Lab, Proxy, plan_lab

_FILES = ("file", "kubeconfig", "authority", "certificate", "key")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(folders, "ROOT", tmp_path)
    planned = plan_lab("flags", 1, kubernetes=True)
    Folders.of(planned.name).claim()
    Folders.of(planned.name).fill(planned)
    credentials.write(planned)
    return planned


def flags(lab: Lab, program: str) -> dict[str, str]:
    pairs = (flag.removeprefix("--").partition("=") for flag in plane.flags(lab)[program])
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("program", [*plane.SERVERS, *plane.CONTROLLERS])
def test_every_file_that_a_flag_names_is_made(lab: Lab, program: str) -> None:
    named = [
        value
        for name, value in flags(lab, program).items()
        if value.startswith("/") and name.endswith(_FILES)
    ]
    assert named or program == "etcd"
    assert [each for each in named if not Path(each).is_file()] == []


def test_nobody_is_anonymous_and_nodes_are_judged_as_nodes(lab: Lab) -> None:
    found = flags(lab, "kube-apiserver")
    assert found["anonymous-auth"] == "false"
    assert found["authorization-mode"] == "Node,RBAC"
    assert "NodeRestriction" in found["enable-admission-plugins"]


def test_services_and_pods_have_both_families(lab: Lab) -> None:
    services = "10.96.0.0/16,fd00:10:96::/112"
    assert flags(lab, "kube-apiserver")["service-cluster-ip-range"] == services
    manager = flags(lab, "kube-controller-manager")
    assert manager["service-cluster-ip-range"] == services
    assert manager["cluster-cidr"] == "10.244.0.0/16,fd00:10:244::/48"
    assert (manager["node-cidr-mask-size-ipv4"], manager["node-cidr-mask-size-ipv6"]) == (
        "24",
        "64",
    )


@pytest.mark.parametrize("program", plane.CONTROLLERS)
def test_controllers_do_not_elect_and_serve_nobody_outside(lab: Lab, program: str) -> None:
    found = flags(lab, program)
    assert (found["leader-elect"], found["bind-address"]) == ("false", "127.0.0.1")


@pytest.mark.parametrize(
    ("who", "mode"), [(Proxy.KUBE_PROXY, "nftables"), (Proxy.KUBE_PROXY_IPTABLES, "iptables")]
)
def test_kube_proxy_has_its_mode_and_touches_no_sysctl_of_the_machine(
    who: Proxy, mode: str
) -> None:
    lab = plan_lab("flags", 1, kubernetes=True, proxy=who)
    found = proxy.configuration(lab, lab.nodes[0])
    assert found["mode"] == mode
    assert found["hostnameOverride"] == "node1"
    assert found["healthzBindAddress"].startswith("127.0.0.1:")
    assert {found["conntrack"]["maxPerCore"], found["conntrack"]["min"]} == {0}


def test_beside_kube_proxy_our_agent_leaves_services_alone() -> None:
    lab = plan_lab("flags", 1, kubernetes=True, proxy=Proxy.KUBE_PROXY)
    words = daemons.agent_argv(lab, lab.nodes[0])
    assert words[words.index("--components") + 1] == "cni,policy"
    assert words[words.index("--feed") + 1] == "kubernetes"


def test_the_small_control_plane_is_fed_by_files() -> None:
    lab = plan_lab("flags", 1)
    words = daemons.agent_argv(lab, lab.nodes[0])
    assert words[words.index("--feed") + 1].endswith("/flags/objects")
    assert "--components" not in words


def test_kube_proxy_needs_a_real_control_plane() -> None:
    with pytest.raises(ValueError, match="add --kubernetes"):
        plan_lab("flags", 1, proxy=Proxy.KUBE_PROXY)


def test_no_proxy_of_the_environment_leads_into_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    assert not {"HTTPS_PROXY", "http_proxy"} & daemons.environment().keys()


# -------------------------------------------------------------------------------- programs


def install(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).touch(0o755)
    return folder


def test_the_newest_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_BIN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = tmp_path / ".cache/podwire/kubernetes"
    install(cache / "v1.9.11", "kubectl")
    newest = install(cache / "v1.36.3", "kubectl")
    install(cache / "half-built", "kubectl")
    assert programs.folder(("kubectl",)) == newest


def test_a_folder_that_is_named_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = install(tmp_path / "mine", "kubectl")
    monkeypatch.setenv("KUBERNETES_BIN", str(named))
    assert programs.folder(("kubectl",)) == named


@pytest.mark.parametrize("there", [(), ("etcd", "kubectl")])
def test_what_is_missing_is_said_with_what_to_do(
    there: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_BIN", str(install(tmp_path / "mine", *there)))
    with pytest.raises(programs.ProgramsMissing, match=r"no kube-apiserver.*make kubernetes"):
        programs.folder()


def test_no_programs_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_BIN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(programs.ProgramsMissing, match="`make kubernetes`"):
        programs.folder()


# -------------------------------------------------------------------------------- last words

LOG = """\
I1121 13:48:48.527097   16064 server.go:1] "Starting"
E1121 13:48:48.527162   16064 run.go:72] "command failed" err="address already in use"
I1121 13:48:48.527163   16064 server.go:2] "Shutting down"
"""


def test_a_dead_programs_error_is_quoted_rather_than_its_goodbye(lab: Lab) -> None:
    plane.log_of(lab, "kube-scheduler").write_text(LOG)
    assert "address already in use" in plane.last_words(lab, "kube-scheduler")
    assert plane.last_words(lab, "etcd") == ""
