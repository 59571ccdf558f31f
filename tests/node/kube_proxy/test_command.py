"""`podwire proxy` takes kube-proxy's command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from podwire_node.cli import main
from podwire_node.kube_proxy.asked import resolve_flags
from podwire_node.kube_proxy.command import proxy
from podwire_node.kube_proxy.flags import IGNORED
from podwire_node.settings.config import InForce

KUBEADM = str(Path(__file__).with_name("kubeadm.yaml"))

#: Every flag of `kube-proxy --help`, Kubernetes 1.36, but for help and version.
KUBE_PROXYS = """
--bind-address --bind-address-hard-fail --boot-id-file --cleanup --cluster-cidr --config
--config-sync-period --conntrack-max-per-core --conntrack-min --conntrack-tcp-be-liberal
--conntrack-tcp-timeout-close-wait --conntrack-tcp-timeout-established --conntrack-udp-timeout
--conntrack-udp-timeout-stream --detect-local-mode --feature-gates --healthz-bind-address
--hostname-override --init-only --iptables-localhost-nodeports --iptables-masquerade-bit
--iptables-min-sync-period --iptables-sync-period --ipvs-exclude-cidrs --ipvs-min-sync-period
--ipvs-scheduler --ipvs-strict-arp --ipvs-sync-period --ipvs-tcp-timeout --ipvs-tcpfin-timeout
--ipvs-udp-timeout --kube-api-burst --kube-api-content-type --kube-api-qps --kubeconfig
--log-flush-frequency --log-json-info-buffer-size --log-json-split-stream
--log-text-info-buffer-size --log-text-split-stream --logging-format --machine-id-file
--masquerade-all --master --metrics-bind-address --nodeport-addresses --oom-score-adj
--pod-bridge-interface --pod-interface-name-prefix --profiling --proxy-mode
--show-hidden-metrics-for-version -v --v --vmodule
"""


def asked(*words: str, environ: dict[str, str] | None = None) -> InForce:
    """What the command makes of its line."""
    context = proxy.make_context("proxy", list(words))
    return resolve_flags(context.params, environ or {})


def test_every_flag_of_kube_proxys_is_one_of_ours() -> None:
    ours = {name for param in proxy.params for name in param.opts}
    assert [flag for flag in KUBE_PROXYS.split() if flag not in ours] == []


def test_an_unknown_flag_is_an_error() -> None:
    result = CliRunner().invoke(main, ["proxy", "--write-config-to", "x"])
    assert result.exit_code == 2
    assert "No such option '--write-config-to'" in result.output


def test_without_flags_it_is_what_kube_proxy_is() -> None:
    config = asked("--hostname-override=n1").config()
    assert config.components == ("proxy",)
    assert config.feed == "kubernetes"
    assert config.healthz_bind_address == "0.0.0.0:10256"
    assert config.metrics_bind_address == "127.0.0.1:10249"
    assert config.nodeport_addresses == ("primary",)
    assert config.take_over
    assert (config.conntrack_max_per_core, config.conntrack_min) == (32768, 131072)
    assert config.conntrack_tcp_timeout_established == 86400
    assert config.conntrack_tcp_timeout_close_wait == 3600
    assert config.oom_score_adj == -999


def test_the_node_is_called_what_the_host_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Node-7.Example\n")
    assert asked().config().node == "node-7.example"


def test_flags_say_what_they_say_to_kube_proxy() -> None:
    found = asked(
        *("--hostname-override", " NODE1 ", "--master=https://192.0.2.1:6443", "-v=5"),
        *("--nodeport-addresses=10.0.0.0/8", "--nodeport-addresses", "fd00::/8,127.0.0.0/8"),
        *("--masquerade-all", "--conntrack-tcp-be-liberal=false", "--conntrack-udp-timeout=1m30s"),
        *("--healthz-bind-address=10.0.0.1", "--metrics-bind-address=", "--oom-score-adj=-5"),
        *("--detect-local-mode=BridgeInterface", "--pod-bridge-interface", "cni0"),
        *("--proxy-mode=nftables", "--logging-format=json"),
    )
    assert found.warnings == ()
    config = found.config()
    assert (config.node, config.api_server) == ("node1", "https://192.0.2.1:6443")
    assert config.nodeport_addresses == ("10.0.0.0/8", "fd00::/8", "127.0.0.0/8")
    assert config.masquerade_all
    assert not config.conntrack_tcp_be_liberal
    assert config.conntrack_udp_timeout == 90
    assert config.healthz_bind_address == "10.0.0.1:10256"
    assert config.metrics_bind_address == ""
    assert config.oom_score_adj == -5
    assert (config.log_level, config.log_format) == ("debug", "json")


@pytest.mark.parametrize("words", [("-v", "2"), ("-v=2",), ("-v2",), ("--v=2",), ("--v", "2")])
def test_verbosity_is_written_in_every_way(words: tuple[str, ...]) -> None:
    assert asked("--hostname-override=n", *words).config().log_level == "info"


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("T", True), ("True", True), ("0", False), ("f", False)]
)
def test_booleans_are_gos(word: str, value: bool) -> None:
    found = asked("--hostname-override=n", f"--masquerade-all={word}")
    assert found.config().masquerade_all is value
    (mistake,) = asked("--hostname-override=n", "--masquerade-all=yes").mistakes
    assert mistake == "--masquerade-all: masqueradeAll: 'yes': use true or false"


def test_old_flags_turn_servers_off() -> None:
    config = asked("--hostname-override=n", "--healthz-port=0", "--metrics-port=0").config()
    assert (config.healthz_bind_address, config.metrics_bind_address) == ("", "")


def test_localhost_may_be_asked_for_in_the_words_of_mode_iptables() -> None:
    config = asked("--hostname-override=n", "--iptables-localhost-nodeports").config()
    assert config.nodeport_addresses == ("primary", "localhost")
    config = asked("--hostname-override=n", "--iptables-localhost-nodeports=false").config()
    assert config.nodeport_addresses == ("primary",)


def test_flags_without_meaning_are_one_warning() -> None:
    given = [f"{flag}=1" for flag in IGNORED]
    (warning,) = asked("--hostname-override=n", *given).warnings
    assert warning == f"without meaning to podwire: {', '.join(IGNORED)}"


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_another_mode_names_those_there_are(mode: str) -> None:
    (mistake,) = asked("--hostname-override=n", f"--proxy-mode={mode}").mistakes
    assert mistake.startswith(f"--proxy-mode: proxyMode: '{mode}': use nftables, ebpf or auto")


def test_mistakes_are_told_in_kube_proxys_words(tmp_path: Path) -> None:
    (mistake,) = asked("--hostname-override=a b").mistakes
    assert mistake.startswith("--hostname-override: node: 'a b'")
    path = tmp_path / "c.yaml"
    text = Path(KUBEADM).read_text()
    path.write_text(text.replace("tcpEstablishedTimeout: null", "tcpEstablishedTimeout: 5d"))
    (mistake,) = asked("--hostname-override=n", f"--config={path}").mistakes
    assert mistake.startswith(
        f"file {path}: conntrack.tcpEstablishedTimeout: conntrackTcpTimeoutEstablished: '5d'"
    )


def test_beside_a_file_most_flags_are_ignored_as_kube_proxy_ignores_them() -> None:
    found = asked(
        *("--config", KUBEADM, "--hostname-override=n9", "-v=4", "--cluster-cidr=10.1.0.0/16"),
        *("--healthz-port=0", "--conntrack-min=5"),
    )
    config = found.config()
    assert config.cluster_cidr == ("10.244.0.0/16",)
    assert (config.node, config.log_level) == ("n9", "debug")
    assert config.healthz_bind_address == "0.0.0.0:10256"
    assert config.conntrack_min == 131072
    _, warning = found.warnings
    assert warning.endswith("--cluster-cidr, --conntrack-min, --healthz-port: write them there")


def test_a_variable_is_stronger_than_the_file_and_weaker_than_a_flag() -> None:
    environ = {"PODWIRE_CLUSTER_CIDR": "10.9.0.0/16", "PODWIRE_NODE": "other"}
    found = asked("--config", KUBEADM, "--hostname-override=n", environ=environ)
    assert found.config().cluster_cidr == ("10.9.0.0/16",)
    assert found.config().node == "n"


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["proxy", f"--config={tmp_path}/none"])
    assert result.exit_code == 1
    assert result.output == f"Error: {tmp_path}/none: cannot be read: No such file or directory\n"


def test_what_it_leads_to_can_be_shown() -> None:
    words = ["proxy", "--config", KUBEADM, "--hostname-override=n", "--show-config"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(main, words)
    assert result.exit_code == 0
    assert f"file {KUBEADM}: clusterCIDR" in result.output.replace("\n", "")
    assert "Warning: " in result.output
    bad = CliRunner().invoke(main, ["proxy", "--proxy-mode=ipvs", "--show-config"])
    assert bad.exit_code == 1


def test_help_says_which_flags_count_beside_a_file() -> None:
    text = " ".join(CliRunner().invoke(main, ["proxy", "--help"]).output.split())
    assert "those that still count are --hostname-override, --master" in text
    assert "Examples:" in text
    assert json.dumps(text).count("--ipvs-scheduler") == 0  # accepted, and not advertised
