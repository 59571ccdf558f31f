"""The control plane's processes, in the fabric's namespace, where every node reaches the server.

    etcd 127.0.0.1:2379 ◄── kube-apiserver :6443 ◄── controller manager, scheduler (no ports
    in memory-backed files                           of theirs leave the namespace)

Nobody else can enter that namespace but root, so etcd speaks plain HTTP on its loopback. It
need not survive the machine either: it is told not to wait for disks.

Sources: the programs' own --help, 1.36.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from podwire_core.errors import PodwireError
from podwire_core.feed.api_server import ApiError, ApiServer
from podwire_lab.folders import Folders
from podwire_lab.kubernetes import api, programs
from podwire_lab.kubernetes.credentials import PORT
from podwire_lab.machine import daemons, processes
from podwire_lab.topology import CLUSTER_V4, CLUSTER_V6, SERVICES_V4, SERVICES_V6, Lab

ETCD = "http://127.0.0.1:2379"
SERVERS = ("etcd", "kube-apiserver")
CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
MIRROR = "mirror"
PROGRAMS = (*SERVERS, *CONTROLLERS, MIRROR)
API_PATIENCE = 60.0
#: The server announces nothing when it begins to listen, so it is asked.
_ASK_EVERY = 0.05
#: A lab's nodes fail on purpose: their pods go elsewhere within a minute, not in five.
_TOLERATION_S = 60


class PlaneFailed(PodwireError):  # noqa: N818 - a state of the lab
    """The control plane does not come up; the text has what it said last."""


def start(lab: Lab, names: tuple[str, ...]) -> dict[str, int]:
    """Start these programs of the control plane, all at once; their process ids by name.

    Raises ProgramsMissing, OSError.
    """
    where = programs.folder()
    return {
        name: daemons.start(
            (str(where / name), *flags(lab)[name]),
            lab.fabric,
            role(lab.name, name),
            log_of(lab, name),
        )
        for name in names
    }


def role(lab: str, name: str) -> str:
    """The mark by which a process of a lab's control plane is found."""
    return f"{lab}/{name}"


def log_of(lab: Lab, name: str) -> Path:
    """Where it writes what it says."""
    folders = Folders.of(lab.name)
    return (folders.root if name == MIRROR else folders.kubernetes) / f"{name}.log"


def running(lab: Lab) -> dict[str, int]:
    """Process ids of what runs of the control plane, by name."""
    found = processes.marked(processes.ROLE)
    return {name: found[role(lab.name, name)] for name in PROGRAMS if role(lab.name, name) in found}


def wait_until_served(
    lab: Lab, started: Mapping[str, int], *, patience: float = API_PATIENCE
) -> float:
    """Wait until the API server says that it is ready; how many seconds that took.

    Raises PlaneFailed as soon as a program has ended, or when patience has.
    """
    began = time.monotonic()

    def wait(server: ApiServer) -> float:
        while not _ready(server):
            for name, pid in started.items():
                if not processes.alive(pid):
                    raise PlaneFailed(f"{name} has ended: {last_words(lab, name)}")
            if time.monotonic() - began > patience:
                last = last_words(lab, "kube-apiserver")
                raise PlaneFailed(f"the API server is not ready after {patience:.0f} s: {last}")
            time.sleep(_ASK_EVERY)
        return time.monotonic() - began

    return api.ask(lab, wait)


def _ready(server: ApiServer) -> bool:
    try:
        answer = server.get("/readyz", {})
    except ApiError:
        return False
    try:
        return answer.body() == b"ok"
    finally:
        answer.release()


def last_words(lab: Lab, name: str) -> str:
    """The last line of a program's log that tells of an error, else its last; "" for none."""
    return daemons.last_line(log_of(lab, name), _tells_of_failure)


def _tells_of_failure(line: str) -> bool:
    """Of klog's lines E and F are errors; a Go program that cannot start says `Error:`."""
    return line[:1] in {"E", "F"} or '"level":"fatal"' in line or "error" in line[:20].lower()


# ---------------------------------------------------------------------------------- flags


def flags(lab: Lab) -> dict[str, tuple[str, ...]]:
    """What each program is started with."""
    folder = Folders.of(lab.name).kubernetes
    return {
        "etcd": _etcd(folder),
        "kube-apiserver": _api_server(lab, folder),
        "kube-controller-manager": _controller_manager(folder),
        "kube-scheduler": _scheduler(folder),
    }


def _etcd(folder: Path) -> tuple[str, ...]:
    peer = "http://127.0.0.1:2380"
    return (
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={ETCD}",
        f"--advertise-client-urls={ETCD}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    )


def _api_server(lab: Lab, folder: Path) -> tuple[str, ...]:
    return (
        f"--etcd-servers={ETCD}",
        "--bind-address=::",
        f"--secure-port={PORT}",
        f"--advertise-address={lab.gateways[0]}",
        f"--service-cluster-ip-range={SERVICES_V4},{SERVICES_V6}",
        f"--tls-cert-file={folder / 'apiserver.crt'}",
        f"--tls-private-key-file={folder / 'apiserver.key'}",
        f"--client-ca-file={folder / 'ca.crt'}",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--kubelet-certificate-authority={folder / 'ca.crt'}",
        f"--kubelet-client-certificate={folder / 'kubelet-client.crt'}",
        f"--kubelet-client-key={folder / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        f"--service-account-key-file={folder / 'sa.pub'}",
        f"--default-not-ready-toleration-seconds={_TOLERATION_S}",
        f"--default-unreachable-toleration-seconds={_TOLERATION_S}",
        "--profiling=false",
    )


def _controller_manager(folder: Path) -> tuple[str, ...]:
    return (
        *_controller(folder / "controller-manager.kubeconfig"),
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={','.join(cluster_cidrs())}",
        "--node-cidr-mask-size-ipv4=24",
        "--node-cidr-mask-size-ipv6=64",
        f"--service-cluster-ip-range={SERVICES_V4},{SERVICES_V6}",
        f"--root-ca-file={folder / 'ca.crt'}",
        f"--service-account-private-key-file={folder / 'sa.key'}",
        "--use-service-account-credentials=true",
    )


def _scheduler(folder: Path) -> tuple[str, ...]:
    return _controller(folder / "scheduler.kubeconfig")


def _controller(kubeconfig: Path) -> tuple[str, ...]:
    """One of each kind runs, so nobody is elected; its own port is for this namespace alone."""
    return (
        f"--kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        "--profiling=false",
    )


def cluster_cidrs() -> tuple[str, str]:
    """What the nodes' podCIDRs are cut from."""
    return str(CLUSTER_V4), f"{CLUSTER_V6}::/48"
