"""The manifests: one truth in three renderings, and a real API server takes each object."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rendered
import yaml
from control_plane import ControlPlane, control_plane
from rendered import DEPLOY, OVERLAYS

RENDERINGS: dict[str, Callable[[], str]] = {
    "podwire.yaml": (DEPLOY / "podwire.yaml").read_text,
    **{f"kustomize {each}": lambda each=each: rendered.kustomized(each) for each in OVERLAYS},  # type: ignore[misc]  # mypy knows no lambda's default
    **{f"chart {each}": lambda each=each: rendered.chart_for(each) for each in OVERLAYS},  # type: ignore[misc]  # same
}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


def test_podwire_yaml_is_what_the_overlay_all_renders() -> None:
    rest = (DEPLOY / "podwire.yaml").read_text().partition("\n---\n")[2]
    assert rest == rendered.kustomized("all"), "deploy/render makes it anew"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_chart_renders_what_kustomize_renders(overlay: str) -> None:
    chart = rendered.objects(rendered.chart_for(overlay))
    template = chart["DaemonSet"]["spec"]["template"]
    # kustomize has no such thing: its users restart agents by hand when settings change.
    assert len(template["metadata"].pop("annotations")["checksum/config"]) == 64
    assert meant(chart) == meant(rendered.objects(rendered.kustomized(overlay)))


def test_a_value_that_is_not_there_is_refused_by_its_name() -> None:
    helm = str(rendered.tool("helm"))
    template = [helm, "template", "podwire", str(rendered.CHART)]
    wrong = [
        "proxy.mode=ipvs",
        "proxy.ebpf.cgroup=unified",
        "mtv=1400",
        "mtu=99",
        "components={cni,dns}",
        "apiServer=10.0.0.1",
    ]
    wrong += [
        "proxy.detectLocalMode=Magic",
        "proxy.nodeportAddresses={10.0.0.1}",
        "proxy.healthzBindAddress=10256",
        "proxy.metricsBindAdress=:10249",
    ]
    for value in wrong:
        done = subprocess.run(
            [*template, f"--set={value}"], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0, value
        assert value.partition("=")[0].rpartition(".")[2] in done.stderr


def test_the_chart_is_one_that_helm_likes() -> None:
    done = subprocess.run(
        [str(rendered.tool("helm")), "lint", "--strict", str(rendered.CHART)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_notes_say_what_is_missing_where_nothing_serves_the_api_server() -> None:
    helm = [str(rendered.tool("helm")), "install", "podwire", str(rendered.CHART)]
    dry = [*helm, "--dry-run=client", "--namespace=kube-system"]

    def notes(*options: str) -> str:
        done = subprocess.run([*dry, *options], capture_output=True, text=True, check=True)
        return done.stdout.partition("NOTES:")[2]

    assert "apiServer is not set" in notes()
    assert "apiServer is not set" not in notes("--set=apiServer=https://10.0.0.1:6443")
    assert "apiServer is not set" not in notes("--set=components={policy}")


@pytest.mark.parametrize("rendering", RENDERINGS)
def test_a_real_api_server_takes_every_object(
    plane: ControlPlane, tmp_path: Path, rendering: str
) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(RENDERINGS[rendering]())
    kubectl = (str(plane.programs / "kubectl"), f"--kubeconfig={plane.kubeconfig}")
    # Warnings are deprecations, and fields that nobody reads: errors here.
    said = plane.netns.run(
        *kubectl,
        "apply",
        "--warnings-as-errors",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        f"--filename={manifest}",
    )
    # With the component cni there is an admission policy too, and its binding.
    kinds = 7 if "ValidatingAdmissionPolicy" in manifest.read_text() else 5
    assert said.count("serverside-applied (server dry run)") == kinds, said


def liveness(*options: str) -> Any:
    """The chart's liveness probe, asked by HTTP; None where there is none."""
    pod = rendered.objects(rendered.chart(*options))["DaemonSet"]["spec"]["template"]["spec"]
    probe = pod["containers"][0].get("livenessProbe")
    return probe and probe["httpGet"]


def test_the_kubelet_asks_where_the_agent_answers() -> None:
    assert liveness() == {"path": "/livez", "port": 10256}
    assert liveness("--set=components={cni,policy}") is None
    assert liveness("--set=proxy.healthzBindAddress=") is None
    assert liveness("--set=proxy.healthzBindAddress=:10300") == {"path": "/livez", "port": 10300}
    loopback = liveness("--set=proxy.healthzBindAddress=[::1]:10256")
    assert loopback == {"host": "::1", "path": "/livez", "port": 10256}


def test_no_port_of_ours_keeps_a_pod_of_kube_proxy_off_its_node() -> None:
    for overlay in OVERLAYS:
        made = rendered.objects(rendered.kustomized(overlay))
        (agent,) = made["DaemonSet"]["spec"]["template"]["spec"]["containers"]
        assert "ports" not in agent, "with hostNetwork they would be hostPorts"


def test_pods_namespaces_are_seen_where_their_sockets_end_with_an_endpoint() -> None:
    made = rendered.objects(rendered.kustomized("all-ebpf"))
    pod = made["DaemonSet"]["spec"]["template"]["spec"]
    (volume,) = (each for each in pod["volumes"] if each["name"] == "netns")
    assert volume["hostPath"] == {"path": "/run/netns", "type": "DirectoryOrCreate"}
    mounts = pod["containers"][0]["volumeMounts"]
    assert [each for each in mounts if each["name"] == "netns"] == [
        {
            "name": "netns",
            "mountPath": "/run/netns",
            "mountPropagation": "HostToContainer",  # pods come later than the agent
            "readOnly": True,
        }
    ]


def test_the_chart_leaves_the_policy_away_where_it_is_told_to() -> None:
    whole = rendered.objects(rendered.chart())
    without = rendered.objects(rendered.chart("--set=ownNodeOnly=false"))
    policies = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert set(whole) - set(without) == policies


def meant(objects: dict[str, Any]) -> dict[str, Any]:
    """Objects as they are meant: settings are YAML in a text, lists of volumes have no order."""
    settings = objects["ConfigMap"]["data"]
    settings["config.yaml"] = yaml.safe_load(settings["config.yaml"])
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    pod["volumes"].sort(key=lambda volume: str(volume["name"]))
    for container in pod["containers"]:
        container["volumeMounts"].sort(key=lambda mount: str(mount["name"]))
    objects["ClusterRole"]["rules"].sort(key=str)
    return objects
