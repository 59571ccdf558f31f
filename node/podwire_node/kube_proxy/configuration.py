"""A KubeProxyConfiguration, as kubeadm writes it for a cluster, to our settings. Pure but to read.

    kube-proxy's field                   our setting
    conntrack.tcpEstablishedTimeout ──►  conntrackTcpTimeoutEstablished

Nothing (null, "" or an empty list) is not said, and leaves the default. A field that means
nothing here is named in a warning when someone gave it a value of his own, and so is one that
no version has, which kube-proxy reads past too.

Source: kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1, of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from podwire_node.settings.config import ConfigError, Source, read_document

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"
MAX_NAMED = 10

_MEANING = {
    "hostnameOverride": "node",
    "clientConnection.kubeconfig": "kubeconfig",
    "mode": "proxyMode",
    "detectLocalMode": "detectLocalMode",
    "detectLocal.bridgeInterface": "podBridgeInterface",
    "detectLocal.interfaceNamePrefix": "podInterfaceNamePrefix",
    "clusterCIDR": "clusterCidr",
    "iptables.masqueradeAll": "masqueradeAll",
    "nftables.masqueradeAll": "masqueradeAll",
    "nodePortAddresses": "nodeportAddresses",
    "healthzBindAddress": "healthzBindAddress",
    "metricsBindAddress": "metricsBindAddress",
    "oomScoreAdj": "oomScoreAdj",
    "conntrack.maxPerCore": "conntrackMaxPerCore",
    "conntrack.min": "conntrackMin",
    "conntrack.tcpBeLiberal": "conntrackTcpBeLiberal",
    "conntrack.tcpCloseWaitTimeout": "conntrackTcpTimeoutCloseWait",
    "conntrack.tcpEstablishedTimeout": "conntrackTcpTimeoutEstablished",
    "conntrack.udpStreamTimeout": "conntrackUdpTimeoutStream",
    "conntrack.udpTimeout": "conntrackUdpTimeout",
    "logging.format": "logFormat",
    "logging.verbosity": "logLevel",
}

#: Fields that mean nothing here, and the values that say nothing: kube-proxy's own defaults.
_WITHOUT_MEANING: Mapping[str, tuple[object, ...]] = {
    "bindAddress": ("0.0.0.0", "::"),
    "bindAddressHardFail": (),
    "clientConnection.acceptContentTypes": (),
    "clientConnection.burst": (10,),
    "clientConnection.contentType": ("application/vnd.kubernetes.protobuf",),
    "clientConnection.qps": (5,),
    "configSyncPeriod": ("15m0s",),
    "enableProfiling": (),
    "featureGates": ({},),
    "iptables.localhostNodePorts": (True,),
    "iptables.masqueradeBit": (14,),
    "iptables.minSyncPeriod": ("1s",),
    "iptables.syncPeriod": ("30s",),
    "ipvs.excludeCIDRs": (),
    "ipvs.minSyncPeriod": (),
    "ipvs.scheduler": (),
    "ipvs.strictARP": (),
    "ipvs.syncPeriod": ("30s",),
    "ipvs.tcpFinTimeout": (),
    "ipvs.tcpTimeout": (),
    "ipvs.udpTimeout": (),
    "logging.flushFrequency": ("5s", 5_000_000_000),
    "logging.options.json.infoBufferSize": ("0",),
    "logging.options.json.splitStream": (),
    "logging.options.text.infoBufferSize": ("0",),
    "logging.options.text.splitStream": (),
    "logging.vmodule": (),
    "nftables.masqueradeBit": (14,),
    "nftables.minSyncPeriod": ("1s",),
    "nftables.syncPeriod": ("30s",),
    "portRange": (),
    "showHiddenMetricsForVersion": (),
    "windowsRunAsService": (),
    "winkernel.enableDSR": (),
    "winkernel.forwardHealthCheckVip": (),
    "winkernel.networkName": (),
    "winkernel.rootHnsEndpointName": (),
    "winkernel.sourceVip": (),
}
_NOTHING_SAID: tuple[object, ...] = (None, "", [], {})
_ZEROS: tuple[object, ...] = (*_NOTHING_SAID, 0, False, "0s")
_OBJECTS = {
    ".".join(words[:end])
    for words in (path.split(".") for path in (*_MEANING, *_WITHOUT_MEANING))
    for end in range(1, len(words))
}


class Read(NamedTuple):
    """What a file says: in our settings' words, and in sentences."""

    source: Source
    warnings: tuple[str, ...] = ()


def read_configuration(path: Path) -> Read:
    """kube-proxy's file. Raises ConfigError for what is none."""
    document = read_document(path)
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ConfigError(
            [
                (
                    f"{path}: is no {KIND} of {API_VERSION}: give kube-proxy's file; podwire's "
                    "own settings are for `podwire agent --config`"
                )
            ]
        )
    return translate(f"file {path}", document)


def translate(name: str, document: Mapping[str, object]) -> Read:
    """A configuration in our words. Raises ConfigError where an object is none."""
    fields = dict(_fields(name, document))
    given = {path: value for path, value in fields.items() if value not in _NOTHING_SAID}
    warnings = [*_mode(given), *_local(given), *_unknown(fields), *_without_meaning(given)]
    values = {_MEANING[path]: value for path, value in given.items() if path in _MEANING}
    names = {_MEANING[path]: path for path in given if path in _MEANING}
    _addresses(given, values)
    if isinstance(node := values.get("node"), str):
        values["node"] = node.strip().lower()
    if "logLevel" in values:
        values["logLevel"] = level(values["logLevel"])
    return Read(Source(name, values, names), tuple(f"{name}: {each}" for each in warnings))


def level(verbosity: object) -> object:
    """klog's number as one of our levels; what is no number is left for its reader to refuse."""
    if isinstance(verbosity, str) and verbosity.isdigit():
        verbosity = int(verbosity)
    if type(verbosity) is not int or verbosity < 0:
        return verbosity
    return "debug" if verbosity >= 4 else "info"


def _fields(
    name: str, value: Mapping[str, object], prefix: str = ""
) -> Iterator[tuple[str, object]]:
    """Paths and values of all that stands in the document."""
    for key, each in value.items():
        path = f"{prefix}{key}"
        if path in {"apiVersion", "kind"}:
            continue
        if path not in _OBJECTS:
            yield path, each
        elif isinstance(each, Mapping):
            yield from _fields(name, each, f"{path}.")
        elif each is not None:
            raise ConfigError([f"{name}: {path}: is no object"])


def _mode(given: dict[str, object]) -> Iterator[str]:
    """The mode, and which of two fields that it chooses counts."""
    mode = given.get("mode", "")
    unused = "iptables" if mode in ("nftables", "ebpf", "auto") else "nftables"
    given.pop(f"{unused}.masqueradeAll", None)
    if mode in ("", "iptables"):
        given.pop("mode", None)
        yield (
            f'mode "{mode}": podwire makes nftables rules, as kube-proxy does in mode nftables: '
            "NodePorts answer at the node's primary addresses unless nodePortAddresses says more"
        )


def _local(given: dict[str, object]) -> Iterator[str]:
    """kube-proxy tells no one apart without a clusterCIDR; we know the Nodes."""
    if given.get("detectLocalMode") == "ClusterCIDR" and "clusterCIDR" not in given:
        del given["detectLocalMode"]
        yield "detectLocalMode: there is no clusterCIDR: local pods are known by Nodes' podCIDRs"


def _addresses(given: Mapping[str, object], values: dict[str, object]) -> None:
    """A port may be left out, and an IPv6 bindAddress moves what is not given."""
    six = ":" in str(given.get("bindAddress", ""))
    for key, port, host in (
        ("healthzBindAddress", 10256, "[::]"),
        ("metricsBindAddress", 10249, "[::1]"),
    ):
        if key in values:
            values[key] = with_port(values[key], port)
        elif six:
            values[key] = f"{host}:{port}"


def with_port(address: object, port: int) -> object:
    """An address that stands alone gets its port; anything else stays as it is."""
    if not isinstance(address, str) or not address or "]" in address:
        return address
    colons = address.count(":")
    if colons == 1:
        return address
    return f"[{address}]:{port}" if colons else f"{address}:{port}"


def _unknown(fields: Mapping[str, object]) -> Iterator[str]:
    unknown = [path for path in fields if path not in _MEANING and path not in _WITHOUT_MEANING]
    if unknown:
        yield f"{_named(unknown)}: no field of {API_VERSION}, ignored"


def _without_meaning(given: Mapping[str, object]) -> Iterator[str]:
    found = [
        path
        for path, silent in _WITHOUT_MEANING.items()
        if path in given and given[path] not in (*_ZEROS, *silent)
    ]
    if found:
        yield f"{_named(found)}: without meaning to podwire"


def _named(paths: Sequence[str]) -> str:
    """Some names on one line, whatever a file calls its fields."""
    shown = [path if path.isprintable() and len(path) <= 60 else repr(path)[:60] for path in paths]
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return ", ".join(shown[:MAX_NAMED]) + more
