"""The kernel's parameters that Services ask for, as kube-proxy sets them.

    parameter                                how          from the setting
    net.netfilter.nf_conntrack_max           raised       conntrackMaxPerCore a core, conntrackMin
    …/nf_conntrack/parameters/hashsize       raised       a quarter of that
    nf_conntrack_tcp_timeout_established     set          conntrackTcpTimeoutEstablished
    nf_conntrack_tcp_timeout_close_wait      set          conntrackTcpTimeoutCloseWait
    nf_conntrack_tcp_be_liberal              set to 1     conntrackTcpBeLiberal
    nf_conntrack_udp_timeout, …_stream       set          conntrackUdpTimeout, …Stream
    net.ipv4.conf.all.route_localnet         set to 1     nodeportAddresses with localhost

* A limit is never lowered: it is the machine's, and others may need it. A timeout is what the
  operator says, also where the kernel's own is longer (five days for an idle TCP connection).
* The limit and the table's size are the machine's. In another network namespace than its first
  they can be read alone, which is no fault of ours, and they are left to that one.
* They come with the kernel's connection tracking, which our first rule may be the first to use:
  until then they are waited for.
* route_localnet lets neighbours reach what listens at 127.0.0.1 alone, but for the proxy's rule
  against it: it is set when that rule is in force (CVE-2020-8558).
* What cannot be written is told once, and changes nothing else: packets flow all the same.

Source: pkg/proxy/conntrack/sysctls.go of Kubernetes 1.36, which lowers limits too.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Snapshot
from podwire_node.settings.agent_config import AgentConfig

log = logging.getLogger(__name__)

#: 320 MB of kernel memory; kube-proxy's bound too, for machines of hundreds of cores.
MAX_CONNECTIONS = 1 << 20
_CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_"
_MAX = f"{_CONNTRACK}max"
_HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
_OOM_SCORE = "proc/self/oom_score_adj"
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Parameter(NamedTuple):
    """A file under the root and what should be in it. limit: a larger number is as good."""

    path: str
    value: int
    limit: bool = False


_LOCALNET = Parameter("proc/sys/net/ipv4/conf/all/route_localnet", 1)


class Outcome(NamedTuple):
    """What came of some parameters. missing: those that the kernel does not have, or not yet."""

    missing: tuple[Parameter, ...] = ()
    problems: tuple[str, ...] = ()


def wanted(config: AgentConfig, cores: int, *, localhost_nodeports: bool) -> Iterator[Parameter]:
    """What a configuration asks for on a machine with so many cores (pure)."""
    if config.conntrack_max_per_core:
        scaled = max(config.conntrack_max_per_core * cores, config.conntrack_min)
        limit = min(scaled, MAX_CONNECTIONS)
        yield Parameter(_MAX, limit, limit=True)
        yield Parameter(_HASHSIZE, limit // 4, limit=True)
    numbers = {
        "tcp_timeout_established": config.conntrack_tcp_timeout_established,
        "tcp_timeout_close_wait": config.conntrack_tcp_timeout_close_wait,
        "tcp_be_liberal": int(config.conntrack_tcp_be_liberal),
        "udp_timeout": config.conntrack_udp_timeout,
        "udp_timeout_stream": config.conntrack_udp_timeout_stream,
    }
    yield from (Parameter(f"{_CONNTRACK}{name}", value) for name, value in numbers.items() if value)
    if localhost_nodeports:
        yield _LOCALNET


def put_in_force(parameters: Iterable[Parameter], root: Path = Path("/")) -> Outcome:
    """Write what differs. Nothing is raised."""
    missing: list[Parameter] = []
    problems: list[str] = []
    for each in parameters:
        path = root / each.path
        if each.path == _HASHSIZE and not _is_ours(root / _MAX):
            continue
        try:
            now = int(path.read_text())
            if now == each.value or (each.limit and now > each.value) or not _is_ours(path):
                continue
            path.write_text(str(each.value))
            log.info("%s: %d, was %d", path, each.value, now)
        except FileNotFoundError:
            missing.append(each)
        except OSError as error:
            problems.append(_told(path, each.value, error))
        except ValueError:
            problems.append(f"{path} holds no number")
    return Outcome(tuple(missing), tuple(problems))


def _is_ours(path: Path) -> bool:
    """Whether it may be written at all: a parameter of the machine is 0444 in a namespace."""
    try:
        return bool(path.stat().st_mode & 0o222)
    except OSError:
        return True


def _told(path: Path, value: int, error: OSError) -> str:
    """Named as kube-proxy's event names it, which people look for."""
    what = f"{path} cannot be set to {value}: {error.strerror}"
    return f"readOnlySysFS: {what}" if error.errno in _READ_ONLY else what


class Sysctls:
    """Implements podwire_node.parts.Work: the parameters, once, and those that come later.

    guarded: whether the rules are in force without which localhost would be open to neighbours.
    """

    name = "sysctls"
    unusable: Sequence[ObjectError] = ()

    def __init__(
        self,
        config: AgentConfig,
        guarded: Callable[[], bool],
        *,
        localhost_nodeports: bool,
        root: Path = Path("/"),
    ) -> None:
        self._guarded = guarded
        cores = os.cpu_count() or 1
        self._left = tuple(wanted(config, cores, localhost_nodeports=localhost_nodeports))
        self._root = root
        self.settled = False
        self.problems: list[str] = []

    @property
    def in_sync(self) -> bool:
        """Whether all was tried; what cannot be set stops no packet."""
        return self.settled

    def watched(self) -> Iterable[tuple[int, Callable[[], None]]]:
        """Nobody announces these."""
        return ()

    def take(self, _snapshot: Snapshot, _changes: Sequence[Change]) -> None:
        """They depend on no object."""

    def sync(self, _now: float) -> float | None:
        """Set what is there; what is missing is looked for again whenever the loop turns."""
        held = () if self._guarded() else (_LOCALNET,)
        outcome = put_in_force((each for each in self._left if each not in held), self._root)
        self._left = (*outcome.missing, *(each for each in self._left if each in held))
        for problem in outcome.problems:
            log.warning("%s", problem, extra={"component": self.name})
            self.problems.append(problem)
        self.settled = True
        return None


def initialize(config: AgentConfig, root: Path = Path("/")) -> Sequence[str]:
    """Set what needs more rights than an agent has later; answers what could not be set.

    A parameter that the kernel does not have yet is one of those. No rule is in force now:
    kubelet's KUBE-FIREWALL guards localhost meanwhile, as where kube-proxy is started so.
    """
    from podwire_node.settings.proxy_options import proxy_options  # noqa: PLC0415 - who needs it

    localhost = proxy_options(config).localhost_nodeports
    asked = wanted(config, os.cpu_count() or 1, localhost_nodeports=localhost)
    outcome = put_in_force(asked, root)
    absent = (f"{root / each.path}: the kernel does not have it yet" for each in outcome.missing)
    return [*outcome.problems, *absent]


def localhost_is_routed(root: Path = Path("/")) -> bool:
    """Whether packets of other machines for 127.0.0.0/8 are taken in, whoever asked for it."""
    try:
        return (root / _LOCALNET.path).read_text().strip() != "0"
    except OSError:
        return False


def stop_routing_localhost(root: Path = Path("/")) -> None:
    """Before the rule goes that kept others out. Raises OSError."""
    (root / _LOCALNET.path).write_text("0")


def adjust_oom_score(score: int, root: Path = Path("/")) -> None:
    """How soon the kernel ends this process when memory runs out; 0 leaves it as it is."""
    if not score:
        return
    try:
        (root / _OOM_SCORE).write_text(str(score))
    except OSError as error:  # to lower it takes CAP_SYS_RESOURCE
        log.warning("oomScoreAdj: %d cannot be set: %s", score, error.strerror)
