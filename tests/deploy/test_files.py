"""The files that install us, as far as reading them tells: names, versions, values, scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from podwire_lab.kubernetes.access import AGENT_ACCESS
from podwire_node.settings.config import Source, settle

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart/podwire"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCRIPTS = (
    DEPLOY / "build-image",
    DEPLOY / "debian-base",
    DEPLOY / "render",
    ROOT / "vagrant/kind/up",
    ROOT / "vagrant/kind/down",
    *sorted((ROOT / "vagrant/provision").glob("*.sh")),
)


def test_one_version_is_told_everywhere() -> None:
    version = PROJECT["project"]["version"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (about["version"], about["appVersion"]) == (version, version)
    for file in ("base/daemonset.yaml", "podwire.yaml"):
        assert f"image: podwire:{version}\n" in (DEPLOY / file).read_text()
    component = (DEPLOY / "components/ebpf/kustomization.yaml").read_text()
    assert f"newTag: {version}-ebpf\n" in component


@pytest.mark.parametrize("overlay", ["all", "all-ebpf", "cni-only", "proxy-only", "policy-only"])
def test_an_overlay_s_settings_are_the_agent_s(overlay: str) -> None:
    values = yaml.safe_load((DEPLOY / "overlays" / overlay / "config.yaml").read_text())
    inside = settle({}, {"NODE_NAME": "node1"}, Source("config.yaml", values))
    assert inside.mistakes == ()
    assert inside.config().in_cluster


def test_every_value_of_the_chart_has_a_comment_and_a_type() -> None:
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    schema = msgspec.json.decode((CHART / "values.schema.json").read_bytes())
    assert set(schema["properties"]) - {"global"} == set(values)
    for name, value in values.items():
        above = text[: text.index(f"\n{name}:") + 1].splitlines()[-1]
        # vxlanId shares the comment of vxlanPort, which stands above it without a gap.
        shared = re.match(r"\w+:", above)
        assert above.startswith("#") or shared or _explained_inside(text, name), name
        if isinstance(value, dict) and "properties" in schema["properties"][name]:
            assert set(schema["properties"][name]["properties"]) == set(value), name


def _explained_inside(text: str, name: str) -> bool:
    return bool(re.search(rf"^{name}:\n +#", text, re.MULTILINE))


def test_the_image_holds_the_packages_of_the_distribution() -> None:
    docker = (DEPLOY / "Dockerfile").read_text()
    copied = {line.split()[1] for line in docker.splitlines() if re.match(r"COPY (?!--)", line)}
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text()
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = package.split("/")[0]
        assert {package, folder} & copied, package
        assert f"!{folder}\n" in let_in, package


def test_the_image_s_last_stage_starts_anew() -> None:
    last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert last.startswith("${BASE} AS agent")
    assert "pip" not in last
    assert "gcc" not in last


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_one_that_its_shell_reads(script: Path) -> None:
    shell = script.read_text().splitlines()[0].removeprefix("#!")
    subprocess.run([shell, "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o111
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not here: apt-get install shellcheck")
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_address_is_set_where_the_scripts_set_it() -> None:
    manifest = (DEPLOY / "podwire.yaml").read_text()
    for script in ("kind/up", "provision/control-plane.sh"):
        found = re.search(r"sed \"(s\|.*?)\" ", (ROOT / "vagrant" / script).read_text())
        assert found is not None
        change = (
            found.group(1).replace('\\"', '"').replace("$cluster", "c").replace("$address", "A")
        )
        done = subprocess.run(
            ["sed", change], input=manifest, capture_output=True, text=True, check=True
        )
        settings = _config(done.stdout)["config.yaml"]
        assert yaml.safe_load(settings)["apiServer"] in {"A", "https://A:6443"}


def test_the_lab_s_agents_may_do_what_a_cluster_s_may() -> None:
    made = [each for each in yaml.safe_load_all((DEPLOY / "podwire.yaml").read_text()) if each]
    lab, cluster = (_permissions(objects) for objects in (AGENT_ACCESS, made))
    assert lab == cluster


def _permissions(objects: Iterable[dict[str, Any]]) -> set[tuple[str, str, str]]:
    """(group, resource, verb), each of which may stand in any of a role's rules."""
    (role,) = (each for each in objects if each["kind"] == "ClusterRole")
    return {
        row
        for rule in role["rules"]
        for row in product(rule["apiGroups"], rule["resources"], rule["verbs"])
    }


def _config(manifest: str) -> dict[str, Any]:
    made = [each for each in yaml.safe_load_all(manifest) if each]
    (found,) = (each["data"] for each in made if each["kind"] == "ConfigMap")
    return dict(found)
