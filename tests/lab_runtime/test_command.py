"""What a container of a manifest becomes on this machine."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_lab.kubelet import command
from podwire_lab.workloads import LabPod

OBJECTS = Path("/objects")


def on_host(name: str) -> str | None:
    return f"/bin/{name}" if name in {"sh", "sleep"} else None


def pod(**container: Any) -> LabPod:
    row = {
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u1", "labels": {"app": "web"}},
        "spec": {"nodeName": "node1", "containers": [{"name": "main", **container}]},
    }
    return msgspec.convert(row, LabPod)


def argv(**container: Any) -> tuple[tuple[str, ...], bool]:
    (row,) = pod(**container).spec.containers or ()
    return command.argv_of(row, {"A": "1"}, OBJECTS, on_host)


def test_a_command_that_the_host_has_runs_with_its_arguments() -> None:
    assert argv(command=["sh", "-c"], args=["echo $(A)"]) == (("sh", "-c", "echo 1"), False)


@pytest.mark.parametrize("container", [{}, {"command": ["nginx"]}, {"args": ["--verbose"]}])
def test_what_the_host_lacks_is_stood_in_for_on_all_ports(container: dict[str, Any]) -> None:
    ports = [
        {"containerPort": 8080},
        {"containerPort": 80},
        {"containerPort": 80, "protocol": "UDP"},
    ]
    words, tells = argv(ports=ports, **container)
    assert words[1:3] == ("-I", "-S")
    assert words[4:] == ("--ports", "80,8080", "--ready-fd", "3")
    assert tells


def test_the_lab_s_dns_gets_the_objects() -> None:
    words, tells = argv(command=["podwire-lab-dns"])
    assert words[1:] == (
        "-P",
        "-m",
        "podwire_lab.programs.dns",
        "--objects",
        "/objects",
        "--ready-fd",
        "3",
    )
    assert tells


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)-$(B)", "1-$(B)"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(", "$(")],
)
def test_references_expand_as_kubernetes_says(text: str, expanded: str) -> None:
    assert command.expand(text, {"A": "1"}) == expanded


def test_the_environment_has_the_pod_s_facts_and_its_author_s_wishes() -> None:
    env = [
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IPS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
        {"name": "URL", "value": "http://$(POD_IP):80"},
    ]
    the_pod = pod(env=env)
    (container,) = the_pod.spec.containers or ()
    found = command.environment_of(the_pod, container, ("10.0.0.1", "fd00::1"), "192.168.100.11")
    assert found["LABEL"] == "web"
    assert found["IPS"] == "10.0.0.1,fd00::1"
    assert found["URL"] == "http://10.0.0.1:80"
    assert (found["POD_NAME"], found["POD_NAMESPACE"], found["NODE_NAME"]) == (
        "web-0",
        "shop",
        "node1",
    )
