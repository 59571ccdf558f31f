"""Whole proxies against a real API server: ours and kube-proxy, each on a Node of its own.

A proxy is started in the namespace of its node, and ready when everything is in the kernel. What
it programmed stays there when it has ended.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import changes
import cluster
import filling
import scratch
from control_plane import ADDRESS, ControlPlane
from scratch import Netns

from podwire_core.family import Family
from podwire_core.nft.monitor import Monitor
from podwire_core.nft.objects import Table
from podwire_proxy.services import TABLES

SERVER = f"https://{ADDRESS}:6443"
METRICS = "127.0.0.1:10249"
#: When it is above zero, a full sync has been done for that family.
_SYNCED = 'kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"}'
_PATIENCE_S = 300.0

Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Proxy:
    """One of them. run(plane, node): it runs, and is ready, for as long as the block lasts."""

    name: str
    node: int  # the number of its Node
    tables: tuple[Table, ...]
    run: Callable[[ControlPlane, Netns], AbstractContextManager[Process]]


@contextmanager
def agent(
    plane: ControlPlane, node: Netns, name: str = "node-000", options: Sequence[str] = ()
) -> Iterator[Process]:
    """A whole agent, ready: all of it is in the kernel. It finds the tables as they are."""
    status = plane.folder / f"{name}.status.json"
    status.unlink(missing_ok=True)
    command = [sys.executable, "-m", "podwire_node", "agent", "--node", name, *options]
    command += ["--feed", "kubernetes", "--kubeconfig", str(plane.kubeconfig)]
    command += ["--api-server", SERVER, "--status", str(status)]

    def ready() -> bool:
        return status.exists() and bool(json.loads(status.read_bytes())["ready"])

    with _process(node, command, plane.folder / f"{name}.agent.log") as process:
        _until(process, ready, plane.folder / f"{name}.agent.log")
        yield process


@contextmanager
def _our_proxy(plane: ControlPlane, node: Netns) -> Iterator[Process]:
    """Our agent, told to serve Services and nothing else."""
    with agent(plane, node, "node-000", ("--components", "proxy")) as process:
        yield process


@contextmanager
def _kube_proxy(plane: ControlPlane, node: Netns) -> Iterator[Process]:
    """kube-proxy in nftables mode, allowed to sync as often as it likes."""
    config = plane.folder / "kube-proxy.json"
    config.write_text(json.dumps(_configuration(plane)))
    command = [str(plane.programs / "kube-proxy"), f"--config={config}"]
    log = plane.folder / "kube-proxy.log"
    with node.inside():
        monitor = Monitor(KUBE_PROXY.tables)
    with closing(monitor), _process(node, command, log) as process:
        await_commit(monitor, _PATIENCE_S)  # asked before, it would spend its time on answers
        _until(process, lambda: _synced(node), log)
        yield process


OURS = Proxy("podwire", 0, TABLES, _our_proxy)
KUBE_PROXY = Proxy("kube-proxy", 1, (Table(Family.IPV4, "kube-proxy"),), _kube_proxy)


def change_times(
    plane: ControlPlane, node: Netns, proxy: Proxy, several: Sequence[changes.SliceChange]
) -> list[float]:
    """Milliseconds of each change, from before the request is sent until the kernel announces it.

    One after the other: each waits for the one before it.
    """
    times: list[float] = []
    with node.inside():
        monitor = Monitor(proxy.tables)
    with closing(monitor), filling.client(plane) as client:
        for each in several:
            path = f"{cluster.SLICES}/{each.document['metadata']['name']}"
            monitor.foreign(0)
            before = time.perf_counter()
            client.send("PATCH", path, {"endpoints": each.document["endpoints"]})
            await_commit(monitor, 30)
            times.append((time.perf_counter() - before) * 1000)
    return times


def await_commit(monitor: Monitor, seconds: float = 10) -> None:
    """Until the monitor's tables were changed. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not monitor.foreign(0):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([monitor], [], [], left)[0]:
            raise TimeoutError(f"nothing reached the kernel within {seconds:.0f} s")


@contextmanager
def _process(node: Netns, command: Sequence[str], log: Path) -> Iterator[Process]:
    with log.open("ab") as out:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{node.name}", *command], stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _until(process: Process, ready: Callable[[], bool], log: Path) -> None:
    """Wait for a proxy; one that ended says why in its log."""

    def holds() -> bool:
        if process.poll() is not None:
            raise RuntimeError(log.read_text()[-2000:])
        return ready()

    scratch.until(f"{log.stem} is ready", holds, seconds=_PATIENCE_S)


def _configuration(plane: ControlPlane) -> dict[str, object]:
    """Its KubeProxyConfiguration. Conntrack's zeros: its sysctls are the machine's."""
    kubeconfig = plane.folder / "kubeconfig.kube-proxy"
    kubeconfig.write_text(plane.kubeconfig.read_text().replace("https://127.0.0.1:6443", SERVER))
    leave = {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": f"node-{KUBE_PROXY.node:03}",
        "clusterCIDR": cluster.PODS,
        "conntrack": leave,
        "nftables": {"minSyncPeriod": "1ms"},  # a change waits for nothing; by itself it is 1 s
        "metricsBindAddress": METRICS,
    }


def _synced(node: Netns) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with suppress(OSError), node.inside(), opener.open(f"http://{METRICS}/metrics") as answer:
        rows = [line.split() for line in answer.read().decode().splitlines()]
        return any(row[0] == _SYNCED and float(row[1]) > 0 for row in rows if row)
    return False
