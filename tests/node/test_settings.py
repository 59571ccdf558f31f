"""A setting comes from the strongest source, and every mistake of every source is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_node.cni.calls.listener import listen
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.config import (
    MAX_FILE_BYTES,
    ConfigError,
    InForce,
    Source,
    read_file,
    resolve,
    settle,
)
from podwire_node.settings.rows import SETTINGS
from podwire_node.settings.values import MAX_SOCKET_BYTES, address_and_port, socket

NEEDED: dict[str, object] = {"node": "n1", "feed": "/objects"}
NO_FILE = Source("", {})


def settled(
    flags: dict[str, object] | None = None,
    environ: dict[str, str] | None = None,
    file: dict[str, Any] | None = None,
) -> InForce:
    return settle({**NEEDED, **(flags or {})}, environ or {}, Source("file c.yaml", file or {}))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("https://10.0.0.1:6443", True),
        ("https://[fd00::1]:6443", True),
        ("http://127.0.0.1:8001", True),
        ("http://[::1]:8001", True),
        ("http://localhost", True),
        ("http://10.0.0.1:8001", False),
        ("http://localhost.example", False),
        ("https://user:hunter2@host", False),
    ],
)
def test_no_token_goes_over_plain_http_and_the_chart_means_the_same(
    address: str, allowed: bool
) -> None:
    chart = Path(__file__).parents[2] / "deploy/chart/podwire/values.schema.json"
    pattern = json.loads(chart.read_bytes())["properties"]["apiServer"]["pattern"]
    found = settled({"feed": "kubernetes", "api_server": address})
    assert (not found.mistakes) is bool(re.search(pattern, address)) is allowed


def test_every_field_has_a_row_and_every_row_a_field() -> None:
    fields = {row.name: row.encode_name for row in msgspec.structs.fields(AgentConfig)}
    assert fields == {row.words: row.key for row in SETTINGS}


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.key)
def test_every_default_is_allowed(row: Any) -> None:
    if row.default is not msgspec.NODEFAULT:
        given = list(row.default) if isinstance(row.default, tuple) else row.default
        assert row.read(given) == row.default


@pytest.mark.parametrize(
    ("flag", "variable", "file", "value", "origin"),
    [
        (None, None, None, 8472, "default"),
        (None, None, 1, 1, "file c.yaml"),
        (None, "2", None, 2, "PODWIRE_VXLAN_PORT"),
        (None, "2", 1, 2, "PODWIRE_VXLAN_PORT"),
        ("3", None, None, 3, "--vxlan-port"),
        ("3", None, 1, 3, "--vxlan-port"),
        ("3", "2", None, 3, "--vxlan-port"),
        ("3", "2", 1, 3, "--vxlan-port"),
        (None, "", 1, 1, "file c.yaml"),
    ],
)
def test_the_strongest_source_wins_and_is_named(
    flag: str | None, variable: str | None, file: int | None, value: int, origin: str
) -> None:
    environ = {} if variable is None else {"PODWIRE_VXLAN_PORT": variable}
    found = settled({"vxlan_port": flag}, environ, {} if file is None else {"vxlanPort": file})
    assert found.mistakes == ()
    assert found.settings["vxlanPort"] == (value, origin)
    assert found.config().vxlan_port == value


def test_a_node_name_may_come_from_the_pods_own_variable() -> None:
    found = settle({"feed": "x"}, {"NODE_NAME": "n7"}, NO_FILE)
    assert found.settings["node"] == ("n7", "NODE_NAME")
    both = settle({"feed": "x"}, {"NODE_NAME": "n7", "PODWIRE_NODE": "n8"}, NO_FILE)
    assert both.settings["node"] == ("n8", "PODWIRE_NODE")


def test_lists_are_lists_in_yaml_and_commas_elsewhere() -> None:
    yaml = settled(file={"components": ["policy", "cni"], "masqueradeExclude": ["10.0.0.1/8"]})
    flags = settled({"components": "policy,cni", "masquerade_exclude": "10.0.0.0/8, 10.1.2.3/8"})
    for found in (yaml, flags):
        assert found.config().components == ("cni", "policy")
        assert found.config().masquerade_exclude == ("10.0.0.0/8",)


@pytest.mark.parametrize(
    ("given", "value"),
    [({"file": {"masquerade": False}}, False), ({"environ": {"PODWIRE_MASQUERADE": "True"}}, True)],
)
def test_booleans_are_yamls_or_words(given: dict[str, Any], value: bool) -> None:
    assert settled(**given).config().masquerade is value


#: What each setting may not be: in the file, where values have types, and as text.
BAD: list[tuple[str, object]] = [
    ("node", "-n"),
    ("node", "Node"),
    ("node", "a b"),
    ("node", "n" * 254),
    ("node", 5),
    ("node", "n\n"),
    ("feed", ""),
    ("feed", ["x"]),
    ("components", ""),
    ("components", []),
    ("components", "cni,ebpf"),
    ("components", [1]),
    ("components", {"cni": True}),
    ("kubeconfig", "a\0b"),
    ("kubeconfig", False),
    ("apiServer", "192.0.2.1:6443"),
    ("apiServer", "ftp://host"),
    ("apiServer", "http://192.0.2.1:8080"),
    ("apiServer", "http://localhost.example"),
    ("apiServer", "https://"),
    ("apiServer", "https://host:99999"),
    ("apiServer", "https://host/path"),
    ("apiServer", "https://user:hunter2@host"),
    ("routing", "Auto"),
    ("routing", None),
    ("vxlanPort", 0),
    ("vxlanPort", 65536),
    ("vxlanPort", "4789x"),
    ("vxlanPort", True),
    ("vxlanPort", 1.5),
    ("vxlanPort", "9" * 5000),
    ("vxlanId", 0),
    ("vxlanId", 1 << 24),
    ("mtu", 1),
    ("mtu", 1279),
    ("mtu", -1),
    ("mtu", 65536),
    ("masquerade", "yes"),
    ("masquerade", 1),
    ("masqueradeExclude", "10.0.0.0"),
    ("masqueradeExclude", ["10.0.0.0/33"]),
    ("masqueradeExclude", [["10.0.0.0/8"]]),
    ("cniConfDir", "etc/cni"),
    ("cniBinDir", "./bin"),
    ("cniSocket", "cni.sock"),
    ("cniSocket", "/" + "s" * 106),
    ("cniPlugin", "calico"),
    ("cniStateDir", ""),
    ("cniStateDir", "state"),
    ("proxyMode", "iptables"),
    ("proxyMode", "ipvs"),
    ("ebpfCgroup", "kubepods"),
    ("ebpfFolder", ""),
    ("ebpfFolder", "podwire"),
    ("ebpfExternal", "perhaps"),
    ("staleSockets", "tcp"),
    ("detectLocalMode", "clustercidr"),
    ("clusterCidr", "10.244.0.0"),
    ("podBridgeInterface", "sixteen-letters-"),
    ("podBridgeInterface", "a b"),
    ("podInterfaceNamePrefix", "cali*"),
    ("masqueradeAll", "maybe"),
    ("nodeportAddresses", "secondary"),
    ("nodeportAddresses", "10.0.0.1"),
    ("nodeportAddresses", []),
    ("nodeportAddresses", [f"10.0.{number}.0/24" for number in range(65)]),
    ("healthzBindAddress", "10256"),
    ("healthzBindAddress", "0.0.0.0:0"),
    ("healthzBindAddress", "0.0.0.0:65536"),
    ("healthzBindAddress", "example.org:10256"),
    ("healthzBindAddress", "::1:10256"),
    ("healthzBindAddress", "[127.0.0.1]:10256"),
    ("metricsBindAddress", "[::1%lo]:10249"),
    ("metricsBindAddress", 10249),
    ("takeOver", "perhaps"),
    ("conntrackMaxPerCore", -1),
    ("conntrackMin", "many"),
    ("conntrackTcpTimeoutEstablished", "-1s"),
    ("conntrackTcpTimeoutEstablished", "10000h"),
    ("conntrackTcpTimeoutEstablished", "h24"),
    ("conntrackTcpTimeoutCloseWait", "1d"),
    ("conntrackTcpBeLiberal", 2),
    ("conntrackUdpTimeout", "9" * 500 + "s"),
    ("conntrackUdpTimeoutStream", 1.5),
    ("oomScoreAdj", -1001),
    ("oomScoreAdj", "low"),
    ("existingConnections", "cut"),
    ("existingConnections", True),
    ("controlSocket", "agent.sock"),
    ("controlSocket", "/" + "s" * 106),
    ("status", 3),
    ("logFormat", "xml"),
    ("logLevel", "trace"),
]


def test_every_setting_has_a_row_of_bad_values() -> None:
    assert {key for key, _ in BAD} == {row.key for row in SETTINGS}


@pytest.mark.parametrize(("key", "value"), BAD)
def test_a_bad_value_in_the_file_is_one_sentence(key: str, value: object) -> None:
    (mistake,) = settled(file={key: value}).mistakes
    row = next(row for row in SETTINGS if row.key == key)
    assert mistake.startswith(f"file c.yaml: {key}: ")
    assert mistake.endswith(row.allowed)
    assert len(mistake) < 250
    assert "\n" not in mistake
    assert "hunter2" not in mistake


@pytest.mark.parametrize(
    ("key", "value"), [row for row in BAD if isinstance(row[1], str) and row[1]]
)
def test_a_bad_value_elsewhere_names_its_flag_or_variable(key: str, value: str) -> None:
    row = next(row for row in SETTINGS if row.key == key)
    variable = row.variables[0]
    (mistake,) = settled({}, {variable: value}).mistakes
    assert mistake.startswith(f"{variable}: {key}: ")
    (mistake,) = settled({row.words: value}).mistakes
    assert mistake.startswith(f"{row.flag}: {key}: ")


def test_all_mistakes_are_told_at_once() -> None:
    found = settle(
        {"vxlan_id": "x"}, {"PODWIRE_MTU": "huge"}, Source("file c.yaml", {"rooting": "auto"})
    )
    assert len(found.mistakes) == 5
    assert "did you mean routing?" in found.mistakes[0]
    text = "\n".join(found.mistakes)
    for word in ("--vxlan-id", "PODWIRE_MTU", "node: is needed", "feed: is needed"):
        assert word in text
    with pytest.raises(ConfigError) as error:
        found.config()
    assert str(error.value) == text


def test_a_mistake_in_a_weaker_source_is_one_too() -> None:
    (mistake,) = settled({"mtu": "1500"}, file={"mtu": 7}).mistakes
    assert "c.yaml" in mistake


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("vxlan_port", "vxlanPort"),
        ("vxlan-port", "vxlanPort"),
        ("VXLANPort", "vxlanPort"),
        ("kubeConfig", "kubeconfig"),
        ("cniConfdir", "cniConfDir"),
        ("masqueradeExcludes", "masqueradeExclude"),
        ("component", "components"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(key: str, meant: str) -> None:
    (mistake,) = settled(file={key: 1}).mistakes
    assert mistake == f"file c.yaml: {key!r} is no setting: did you mean {meant}?"


def test_an_unknown_key_that_is_near_nothing_points_to_the_list() -> None:
    (mistake,) = settled(file={"zzzz" * 40: 1}).mistakes
    assert mistake.endswith("`podwire config` lists them")
    assert len(mistake) < 200


@pytest.mark.parametrize(
    ("flags", "environ", "start"),
    [
        ({"kubeconfig": "/k"}, {}, "--kubeconfig: kubeconfig: needs feed kubernetes"),
        (
            {},
            {"PODWIRE_API_SERVER": "https://h"},
            "PODWIRE_API_SERVER: apiServer: needs feed kubernetes",
        ),
        ({"cni_conf_dir": "/etc/cni/net.d"}, {}, "cniSocket: the plugin podwire asks this agent"),
        (
            {"detect_local_mode": "ClusterCIDR"},
            {},
            "--detect-local-mode: detectLocalMode: ClusterCIDR needs clusterCidr",
        ),
        (
            {"detect_local_mode": "BridgeInterface"},
            {},
            "--detect-local-mode: detectLocalMode: BridgeInterface needs podBridgeInterface",
        ),
        (
            {"detect_local_mode": "InterfaceNamePrefix", "pod_bridge_interface": "cni0"},
            {},
            "--detect-local-mode: detectLocalMode: InterfaceNamePrefix needs podInterfaceNamePr",
        ),
        (
            {"nodeport_addresses": "primary,10.0.0.0/8"},
            {},
            "--nodeport-addresses: nodeportAddresses: primary and 10.0.0.0/8: use one or",
        ),
        (
            {"nodeport_addresses": "all,10.0.0.0/8"},
            {},
            "--nodeport-addresses: nodeportAddresses: all and 10.0.0.0/8: use one or",
        ),
    ],
)
def test_settings_that_do_not_go_together(
    flags: dict[str, object], environ: dict[str, str], start: str
) -> None:
    (mistake,) = settled(flags, environ).mistakes
    assert mistake.startswith(start)


@pytest.mark.parametrize(
    "flags",
    [
        {"feed": "kubernetes", "kubeconfig": "/k", "api_server": "https://[fd00::1]:6443/"},
        {"cni_conf_dir": "/etc/cni/net.d", "cni_plugin": "podwire-cni"},
        {"cni_conf_dir": "/etc/cni/net.d", "cni_socket": "/run/x.sock"},
        {"cni_conf_dir": "/etc/cni/net.d", "components": "proxy"},
        {"detect_local_mode": "NodeCIDR"},
        {"detect_local_mode": "ClusterCIDR", "cluster_cidr": "10.244.0.0/16"},
        {"nodeport_addresses": "primary,localhost"},
        {"nodeport_addresses": "all,localhost"},
    ],
)
def test_settings_that_do(flags: dict[str, object]) -> None:
    assert settled(flags).mistakes == ()


# ------------------------------------------------------------------------------ the file


def test_mistakes_are_told_by_setting() -> None:
    found = settled({"mtu": "7", "node": "no name"})
    assert [sentence.split(":")[0] for sentence in found.mistakes_of({"mtu"})] == ["--mtu"]
    assert len(found.mistakes_of({"mtu", "node"})) == 2
    assert found.mistakes_of({"routing"}) == []


def test_a_file_is_read_by_flag_or_variable(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("node: n1\nfeed: /objects\ncomponents: [proxy]\n")
    for flags, environ in (({"config": str(path)}, {}), ({}, {"PODWIRE_CONFIG": str(path)})):
        found = resolve(flags, environ)
        assert found.config().components == ("proxy",)
        assert found.settings["components"].origin == f"file {path}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: [", "is not YAML: line 2"),
        (b"- node\n", "holds a list where an object should stand"),
        (b"node\n", "holds a str where an object should stand"),
        (b"node: a\n---\nnode: b\n", "holds more than one document"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than 64 KiB"),
        (b"[" * 5000, "nests deeper"),
    ],
)
def test_a_file_that_is_no_settings_is_one_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    (mistake,) = resolve({"config": str(path)}, {}).mistakes
    assert mistake.startswith(f"{path}: {reason}")


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("# nothing yet\n")
    assert read_file(tmp_path / "c.yaml").values == {}


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    (mistake,) = resolve({"config": str(tmp_path / name)}, {}).mistakes
    assert mistake.startswith(f"{tmp_path / name}: ")


def test_the_longest_socket_path_can_be_listened_at(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    longest = f"{folder}/".ljust(MAX_SOCKET_BYTES, "s")
    assert socket(longest) == longest
    listen(Path(longest)).close()
    with pytest.raises(ValueError):  # noqa: PT011 - the row in SETTINGS has the words
        socket(longest + "s")


@pytest.mark.parametrize(
    ("name", "value", "warned"),
    [
        ("PODWIRE_VXLAN_PORTT", "8472", True),
        ("PODWIRE_VXLAM_PORT", "8472", True),
        ("PODWIRE_", "", True),
        ("PODWIRE_VXLAN_PORT", "8472", False),
        ("PODWIRE_CONFIG", "", False),
        ("PODWIRE_LAB", "second", False),
        ("PODWIRE_ROLE", "lab/agent/node1", False),
        ("PODWIRE_CONTAINER", "x", False),
        ("PODWIRE_NETNS_FD", "3", False),
        ("PODWIRE_FAULT_SECONDS", "600", False),
        ("PODWIRE_PORT", "tcp://10.96.0.9:80", False),
        ("PODWIRE_PORT_80_TCP_ADDR", "10.96.0.9", False),
        ("PODWIRE_METRICS_SERVICE_PORT_HTTP", "80", False),
        ("OTHER_VXLAN_PORTT", "1", False),
    ],
)
def test_only_variables_that_are_meant_for_us_are_warned_of(
    name: str,
    value: str,
    warned: bool,
) -> None:
    found = settled(environ={name: value})
    assert found.mistakes == ()
    assert bool(found.warnings) is warned


# ------------------------------------------------------------------------------- Services


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("24h0m0s", 86400),
        ("1h0m0s", 3600),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1500ms", 1),
        ("0s", 0),
        ("0", 0),
        ("90", 90),
        (90, 90),
    ],
)
def test_a_duration_is_seconds_or_gos(given: object, value: int) -> None:
    found = settled(file={"conntrackTcpTimeoutEstablished": given})
    assert found.config().conntrack_tcp_timeout_established == value


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("0.0.0.0:10256", "0.0.0.0:10256"),
        ("[::]:10256", "[::]:10256"),
        (":10256", "0.0.0.0:10256"),
        ("[FD00::0:1]:80", "[fd00::1]:80"),
        ("127.000.000.001:10249", "127.0.0.1:10249"),
        ("", ""),
    ],
)
def test_an_address_and_port_get_their_canonical_spelling(given: str, value: str) -> None:
    assert settled(file={"healthzBindAddress": given}).config().healthz_bind_address == value


def test_an_address_and_port_can_be_taken_apart() -> None:
    assert address_and_port("[::1]:10256") == ("::1", 10256)
    assert address_and_port("127.0.0.1:80") == ("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("flags", "warned"),
    [
        (
            {"nodeport_addresses": "10.0.0.0/8"},
            ["--nodeport-addresses: nodeportAddresses: no IPv6"],
        ),
        ({"nodeport_addresses": "10.0.0.0/8,fd00::/8"}, []),
        ({"nodeport_addresses": "all"}, []),
        (
            {"nodeport_addresses": "10.0.0.0/8,fd00::/8", "cluster_cidr": "10.244.0.0/16"},
            ["--cluster-cidr: clusterCidr: no IPv6 network"],
        ),
        ({"cluster_cidr": "10.244.0.0/16"}, []),
        (
            {"nodeport_addresses": "127.0.0.0/8,::1/128"},
            ["--nodeport-addresses: nodeportAddresses: ::1: nftables"],
        ),
    ],
)
def test_what_is_likely_not_meant_is_warned_of(flags: dict[str, object], warned: list[str]) -> None:
    found = settled(flags)
    assert found.mistakes == ()
    assert len(found.warnings) == len(warned)
    for sentence, start in zip(found.warnings, warned, strict=True):
        assert sentence.startswith(start)


def test_other_defaults_are_weaker_than_every_source() -> None:
    defaults = Source("kube-proxy's default", {"mtu": 1300, "oomScoreAdj": -999})
    found = settle({**NEEDED, "mtu": "1400"}, {}, NO_FILE, defaults)
    assert found.settings["mtu"] == (1400, "--mtu")
    assert found.settings["oomScoreAdj"] == (-999, "kube-proxy's default")
