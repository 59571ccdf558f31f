"""vagrant/: as far as it can be judged without a container engine and without a hypervisor."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import rendered
import yaml
from rendered import ROOT

VAGRANT = ROOT / "vagrant"

# Takes down what kind asks of docker, and is no engine: where nodes would begin it refuses. kind
# begins all nodes at once and ends with the first refusal, so that waits for the other nodes.
_STAND_IN = """#!/bin/sh
echo "$@" >>"{log}"
case $1 in
info) echo '{{"CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}}' ;;
run)
    for _ in $(seq 600); do
        [ "$(grep -c "^run " "{log}")" -ge 3 ] && break
        sleep 0.05
    done
    echo "this is no docker" >&2 && exit 1
    ;;
esac
"""


def _create(config: Path, folder: Path) -> tuple[str, list[str]]:
    """What `kind create cluster` says, and the nodes that it would have made."""
    kind, log, docker = rendered.tool("kind"), folder / "log", folder / "docker"
    docker.write_text(_STAND_IN.format(log=log))
    docker.chmod(0o755)
    environ = {
        "HOME": str(folder),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
    }
    done = subprocess.run(
        [str(kind), "create", "cluster", "--config", str(config)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    asked = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return done.stderr, sorted(words[2] for words in asked if words[0] == "run")


def test_kind_takes_the_cluster_and_would_make_its_three_nodes(tmp_path: Path) -> None:
    said, nodes = _create(VAGRANT / "kind/cluster.yaml", tmp_path)
    assert "this is no docker" in said  # so far did it come: read, checked, and under way
    # The name by which agents find the API server (vagrant/kind/up).
    assert nodes == ["podwire-control-plane", "podwire-worker", "podwire-worker2"]


def test_kind_would_have_refused_a_field_that_is_not_there(tmp_path: Path) -> None:
    config = yaml.safe_load((VAGRANT / "kind/cluster.yaml").read_text())
    config["networking"]["kubeProxyMod"] = "none"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(config))
    said, nodes = _create(wrong, tmp_path)
    assert "kubeProxyMod" in said
    assert nodes == []


def test_vagrant_takes_the_vagrantfile(tmp_path: Path) -> None:
    if not shutil.which("vagrant"):
        pytest.skip("vagrant is not here: `make test-vagrant` installs Debian's and runs this")
    # A copy: vagrant keeps what it knows beside the file.
    copy = shutil.copytree(VAGRANT, tmp_path / "vagrant")
    environ = {
        **os.environ,
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_CHECKPOINT_DISABLE": "1",
    }
    done = subprocess.run(
        ["vagrant", "validate"],
        cwd=copy,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "validated successfully" in done.stdout
    token = copy / ".vagrant/join-token"
    assert token.stat().st_mode & 0o077 == 0
