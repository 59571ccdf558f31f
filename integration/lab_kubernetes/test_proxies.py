"""The real kube-proxy in place of our Services: the same shop, the same answers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import control_plane
import pytest
import real_lab
from scratch import until

from podwire_lab.kubernetes.plane import PlaneFailed
from podwire_lab.machine import cluster, namespaces, processes, requirements
from podwire_lab.overview import look
from podwire_lab.show import reachability
from podwire_lab.topology import Proxy, plan_lab


@pytest.mark.parametrize("proxy", [Proxy.KUBE_PROXY, Proxy.KUBE_PROXY_IPTABLES])
def test_kube_proxy_serves_the_shop(proxy: Proxy) -> None:
    planned = plan_lab("unused", 1, kubernetes=True, proxy=proxy)
    try:
        requirements.check(planned)
    except requirements.Unmet as unmet:
        if "kube" not in str(unmet):  # the programs are real_lab's to judge
            pytest.skip(str(unmet))
    with real_lab.raised(proxy) as lab:
        rows = look(lab).nodes
        assert [row.proxy.ready for row in rows if row.proxy] == [True, True]
        assert json.loads(real_lab.podwire(lab, "reach", "--json").stdout)["differences"] == []
        service = json.loads(
            real_lab.kubectl(lab, "-n", "shop", "get", "service", "frontend", "-o", "json")
        )
        visitor = namespaces.pod_netns(lab.name, "default", "visitor")
        ((inside, _),) = reachability.probe(visitor, [("tcp", service["spec"]["clusterIP"], 80)], 5)
        ((outside, _),) = reachability.probe(lab.fabric, [("tcp", "192.168.100.12", 30080)], 5)
        assert (inside, outside) == ("answered", "answered")


def test_without_programs_nothing_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBERNETES_BIN", str(tmp_path))
    with pytest.raises(requirements.Unmet, match="`make kubernetes` builds them"):
        cluster.up(plan_lab("k-nothing", 1, kubernetes=True))
    assert real_lab.what_is_left("k-nothing") == []


def test_a_control_plane_that_cannot_start_says_why_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"):
        (tmp_path / name).write_text("#!/bin/sh\nexec sleep 600\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "etcd").write_text("#!/bin/sh\necho 'Error: the disk is on fire' >&2\nexit 1\n")
    (tmp_path / "etcd").chmod(0o755)
    monkeypatch.setenv("KUBERNETES_BIN", str(tmp_path))
    name = f"kfail{os.getpid()}"
    with pytest.raises(PlaneFailed, match="etcd has ended: Error: the disk is on fire"):
        cluster.up(plan_lab(name, 1, kubernetes=True))
    assert real_lab.what_is_left(name) == []


def test_an_interrupted_up_leaves_nothing() -> None:
    programs = str(control_plane.programs())
    name = f"kint{os.getpid()}"
    script = "from podwire_lab.cli import lab; lab(prog_name='podwire lab')"
    command = [sys.executable, "-c", script, "up", "--kubernetes", "--name", name]
    environment = {**os.environ, "KUBERNETES_BIN": programs, "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as up:
        try:
            role = f"{name}/kube-apiserver"
            until("it has begun", lambda: role in processes.marked(processes.ROLE))
            up.send_signal(signal.SIGINT)
            _, errors = up.communicate(timeout=60)
        finally:
            up.kill()
            cluster.down(name)
    assert "interrupted: the lab is taken down again" in errors
    assert real_lab.what_is_left(name) == []
