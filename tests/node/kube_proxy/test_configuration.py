"""kube-proxy's file is read as kubeadm writes it, and what it says is said in our words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from podwire_node.kube_proxy.configuration import (
    API_VERSION,
    KIND,
    level,
    read_configuration,
    translate,
    with_port,
)
from podwire_node.settings.config import ConfigError

#: As `kubeadm init` puts it into ConfigMap kube-proxy, and as kube-proxy --write-config-to does.
KUBEADM = Path(__file__).with_name("kubeadm.yaml")
WRITTEN = Path(__file__).with_name("written-defaults.yaml")


def values(**fields: Any) -> dict[str, object]:
    return dict(translate("file x", fields).source.values)


def test_kubeadms_file_says_little_and_warns_of_its_mode_alone() -> None:
    read = read_configuration(KUBEADM)
    assert read.source.values == {
        "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf",
        "clusterCidr": "10.244.0.0/16",
        "masqueradeAll": False,
        "conntrackTcpBeLiberal": False,
        "conntrackUdpTimeout": "0s",
        "conntrackUdpTimeoutStream": "0s",
        "logLevel": "info",
    }
    (warning,) = read.warnings
    assert warning.startswith(f'file {KUBEADM}: mode "": podwire makes nftables rules')


def test_what_kube_proxy_writes_itself_warns_of_nothing_more() -> None:
    read = read_configuration(WRITTEN)
    assert read.source.values["conntrackTcpTimeoutEstablished"] == "24h0m0s"
    assert read.source.values["oomScoreAdj"] == -999
    assert "detectLocalMode" not in read.source.values
    mode, local = read.warnings
    assert 'mode "iptables"' in mode
    assert "local pods are known by Nodes' podCIDRs" in local


@pytest.mark.parametrize("mode", ["nftables", "ipvs", "ebpf"])
def test_a_mode_of_ones_own_choice_is_for_its_reader_to_judge(mode: str) -> None:
    read = translate("file x", {"mode": mode})
    assert read.source.values == {"proxyMode": mode}
    assert read.warnings == ()


@pytest.mark.parametrize(
    ("mode", "counts"), [("", "iptables"), ("iptables", "iptables"), ("nftables", "nftables")]
)
def test_masquerade_all_is_the_modes_own(mode: str, counts: str) -> None:
    for said in ("iptables", "nftables"):
        other = "nftables" if said == "iptables" else "iptables"
        found = values(
            mode=mode, **{said: {"masqueradeAll": True}, other: {"masqueradeAll": False}}
        )
        assert found["masqueradeAll"] is (said == counts)


@pytest.mark.parametrize("nothing", [None, "", []])
def test_nothing_leaves_the_default(nothing: object) -> None:
    assert values(clusterCIDR=nothing, nodePortAddresses=nothing, conntrack={"min": nothing}) == {}


def test_a_node_is_called_what_kube_proxy_would_call_it() -> None:
    assert values(hostnameOverride=" Node-1 ") == {"node": "node-1"}


def test_a_zero_is_said() -> None:
    assert values(conntrack={"maxPerCore": 0}, oomScoreAdj=0) == {
        "conntrackMaxPerCore": 0,
        "oomScoreAdj": 0,
    }


@pytest.mark.parametrize(
    ("fields", "healthz", "metrics"),
    [
        ({}, None, None),
        ({"bindAddress": "::"}, "[::]:10256", "[::1]:10249"),
        ({"bindAddress": "::", "healthzBindAddress": "10.0.0.1"}, "10.0.0.1:10256", "[::1]:10249"),
        ({"metricsBindAddress": "fd00::1"}, None, "[fd00::1]:10249"),
        ({"metricsBindAddress": "0.0.0.0:9"}, None, "0.0.0.0:9"),
    ],
)
def test_addresses_may_lack_their_port(
    fields: dict[str, Any], healthz: str | None, metrics: str | None
) -> None:
    found = values(**fields)
    assert (found.get("healthzBindAddress"), found.get("metricsBindAddress")) == (healthz, metrics)


@pytest.mark.parametrize("given", ["", "[::1]:80", "10.0.0.1:80", 5])
def test_what_has_a_port_or_is_no_address_stays(given: object) -> None:
    assert with_port(given, 1) == given


@pytest.mark.parametrize(
    ("verbosity", "word"), [(0, "info"), (2, "info"), ("3", "info"), (4, "debug"), ("10", "debug")]
)
def test_klogs_numbers_are_levels(verbosity: object, word: str) -> None:
    assert level(verbosity) == word


def test_what_means_nothing_here_is_named_once() -> None:
    fields = {"mode": "nftables", "featureGates": {"A": True}, "ipvs": {"scheduler": "rr"}}
    (warning,) = translate("file x", fields).warnings
    assert warning == "file x: featureGates, ipvs.scheduler: without meaning to podwire"


def test_fields_of_no_version_are_named_once_and_shortly() -> None:
    fields = {"mode": "nftables", **{f"x\n{number}": 1 for number in range(30)}}
    (warning,) = translate("file x", fields).warnings
    assert warning.endswith(f"and 20 more: no field of {API_VERSION}, ignored")
    assert "\n" not in warning
    assert len(warning) < 300


def test_a_field_that_is_no_object_is_one_sentence() -> None:
    with pytest.raises(ConfigError, match="file x: conntrack: is no object"):
        translate("file x", {"conntrack": 5})


@pytest.mark.parametrize(
    "text", ["", "node: n1\n", f"apiVersion: {API_VERSION}\n", f"kind: {KIND}\napiVersion: v1\n"]
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="is no KubeProxyConfiguration of "):
        read_configuration(tmp_path / "c.yaml")
