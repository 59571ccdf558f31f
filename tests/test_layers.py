"""The arrows of ARCHITECTURE.md, read from the code's own imports.

            lab        node
            |  \\     /  |  \\
            |   \\   /   |   \\
            |    cni  proxy policy       (lab stands on all three, too)
            |          | \\    |
            |          | ebpf |
            |          |      |
            └──────── core ───┘        (cni and ebpf stand on nothing of ours)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = {
    "podwire_core": ROOT / "core/podwire_core",
    "podwire_cni": ROOT / "cni-plugin/podwire_cni",
    "podwire_proxy": ROOT / "proxy/podwire_proxy",
    "podwire_policy": ROOT / "policy/podwire_policy",
    "podwire_ebpf": ROOT / "ebpf/podwire_ebpf",
    "podwire_node": ROOT / "node/podwire_node",
    "podwire_lab": ROOT / "lab/podwire_lab",
}

#: Who may import whom.
ARROWS: dict[str, set[str]] = {
    "podwire_core": set(),
    "podwire_cni": set(),
    "podwire_ebpf": set(),
    "podwire_proxy": {"podwire_core", "podwire_ebpf"},
    "podwire_policy": {"podwire_core"},
    "podwire_node": {
        "podwire_core",
        "podwire_proxy",
        "podwire_policy",
        "podwire_cni",
        "podwire_ebpf",
    },
    "podwire_lab": {
        "podwire_core",
        "podwire_proxy",
        "podwire_policy",
        "podwire_cni",
        "podwire_ebpf",
    },
}

#: How rows of the maps look; the rest of the package opens, compiles or attaches.
PURE_OF_EBPF = {"podwire_ebpf.layout", "podwire_ebpf.records", "podwire_ebpf.rows"}

#: One small module per effect and package: who may touch what.
EFFECTS: dict[str, set[str]] = {
    "nftables": {"podwire_core.nft.kernel"},
    "inotify_simple": {
        "podwire_core.feed.directory",
        "podwire_lab.control.controller",
        "podwire_lab.kubelet.file_events",
        "podwire_node.cni.files.folder_events",
    },
    "yaml": {"podwire_core.feed.documents"},
    "sqlite3": {"podwire_cni.lease_file"},
    "bcc": {"podwire_ebpf.compiler"},
    "pyroute2": {
        "podwire_cni.answers",
        "podwire_cni.tbf",
        "podwire_node.routes.overlay_device",
        "podwire_node.routes.routing",
        "podwire_lab.machine.links",
    },
    "dnslib": {"podwire_lab.programs.dns"},
    "kubernetes": {"podwire_core.feed.access"},
    "cryptography": {"podwire_lab.kubernetes.certificates"},
    "h11": {"podwire_node.web.conversation"},
    "prometheus_client": {"podwire_node.metrics.registry"},
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of ours, by its dotted name."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield ".".join([package, *(part for part in parts if part != "__init__")]), path


def imports(path: Path) -> Iterator[str]:
    """Dotted names a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide arrows"
            yield node.module or ""


MODULES = dict(modules())


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_arrows(module: str) -> None:
    package = module.partition(".")[0]
    for name in imports(MODULES[module]):
        target = name.partition(".")[0]
        if target.startswith("podwire") and target != package:
            assert target in ARROWS[package], f"{module} must not import {name}"


@pytest.mark.parametrize("module", [each for each in MODULES if "podwire_proxy" in each])
def test_the_proxy_takes_of_ebpf_what_is_pure(module: str) -> None:
    taken = {name for name in imports(MODULES[module]) if name.startswith("podwire_ebpf")}
    assert taken <= PURE_OF_EBPF


@pytest.mark.parametrize("module", MODULES)
def test_effects_have_one_door(module: str) -> None:
    for name in imports(MODULES[module]):
        doors = EFFECTS.get(name.partition(".")[0])
        if doors is not None:
            assert module in doors, f"{module} touches {name}; its door is {sorted(doors)}"


@pytest.mark.parametrize("module", [each for each in MODULES if each != "podwire_core.typed"])
def test_types_are_worked_out_in_one_place(module: str) -> None:
    """Two threads that begin with one struct crash the process: see podwire_core.typed."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Attribute(attr="Decoder" | "convert", value=value):
                assert not ast.unparse(value).startswith("msgspec"), ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="decode", value=value), keywords=keywords):
                assert "type" not in {each.arg for each in keywords}, ast.unparse(node)
            case ast.ImportFrom(module="msgspec" | "msgspec.json", names=names):
                assert not {each.name for each in names} & {"Decoder", "convert", "decode"}


def test_every_package_is_in_the_drawing() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/podwire_*/__init__.py")}
    assert folders == PACKAGES.keys() == ARROWS.keys()


def test_no_module_is_a_drawer_for_anything() -> None:
    drawers = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
    assert not [module for module in MODULES if drawers & set(module.split("."))]
