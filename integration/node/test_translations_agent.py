"""An agent with proxyMode ebpf is looked into: observe, dump, doctor, by Kubernetes' objects.

```
 agent (policy, proxy) in n1 ── programs ── cgroup of the pods: shop/frontend dials, shop/db answers
```
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import scratch
from scratch import Netns, until
from socket_site import CLIENT, EMPTY, LEFT, SERVER, VIP, TwoPods, two_pods

from podwire_ebpf.errors import BpfError
from podwire_ebpf.plane import open_tables, prove
from podwire_ebpf.records import Flag


def pod(name: str, addresses: tuple[str, ...]) -> dict[str, Any]:
    ips = [{"ip": each} for each in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIPs": ips},
    }


def service(name: str, address: str, **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIPs": [address],
            "clusterIP": address,
            "ports": [{"name": "sql", "port": 80, "targetPort": 5432}],
            **spec,
        },
    }


def slice_of(name: str, *addresses: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-1",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [{"addresses": [each], "nodeName": "n1"} for each in addresses],
    }


GUARDED = {
    "type": "LoadBalancer",
    "loadBalancerSourceRanges": ["198.51.100.0/24"],
}
OBJECTS = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "n1"},
        "spec": {"podCIDRs": ["10.244.1.0/24"]},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.168.7.1"}]},
    },
    pod("frontend", CLIENT),
    pod("db", SERVER),
    service("db", VIP),
    slice_of("db", SERVER[0]),
    service("empty", EMPTY),
    {
        **service("guarded", "10.96.0.16", **GUARDED),
        "status": {"loadBalancer": {"ingress": [{"ip": LEFT}]}},
    },
    slice_of("guarded", SERVER[0]),
)


#: An agent that looks each second whether its programs are there.
IMPATIENT = """
import runpy
from podwire_node.sockets.prover import Prover
Prover.__init__.__defaults__ = (1.0,)
runpy.run_module("podwire_node", run_name="__main__", alter_sys=True)
"""


@dataclass
class Stage:
    """The pods, and an agent on their node."""

    pods: TwoPods
    node: Netns
    folder: Path
    agent: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "control/agent.sock"

    def start(self, *options: str, program: Sequence[str] = ("-m", "podwire_node")) -> None:
        status = self.folder / "status.json"
        status.unlink(missing_ok=True)
        command = [sys.executable, *program, "agent", "--node", "n1"]
        command += ["--feed", str(self.folder / "objects"), "--status", str(status)]
        command += ["--control-socket", str(self.socket), "--proxy-mode", "ebpf"]
        command += ["--ebpf-cgroup", str(self.pods.place.cgroup)]
        command += ["--ebpf-folder", str(self.pods.place.folder), *options]
        inside = ["nsenter", f"--net=/run/netns/{self.node.name}"]
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([*inside, *command], stderr=log)
        until("the agent is ready", lambda: bool(self._status(status).get("in_sync")), 120)

    def end(self, how: signal.Signals) -> None:
        if self.agent is not None:
            self.agent.send_signal(how)
            self.agent.wait(30)
            self.agent = None

    def _status(self, path: Path) -> dict[str, Any]:
        assert self.agent is not None
        log = self.folder / "agent.log"
        assert self.agent.poll() is None, log.read_text()
        try:
            return dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return {}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "podwire_node", *words, "--socket", str(self.socket)]
        inside = ["nsenter", f"--net=/run/netns/{self.node.name}"]
        return subprocess.run(
            [*inside, *command], capture_output=True, text=True, timeout=120, check=False
        )

    def is_observed(self) -> bool:
        try:
            with closing(open_tables(self.pods.place)) as tables:
                settings = tables.settings.get(0)
        except BpfError:
            return False
        return settings is not None and bool(settings.flags & Flag.OBSERVED)

    def is_served(self) -> bool:
        """Whether programs are attached, and calls reach them."""
        with self.node.inside():
            return prove(self.pods.place).ok

    @contextmanager
    def following(self, *words: str) -> Iterator[Iterator[dict[str, Any]]]:
        command = [sys.executable, "-m", "podwire_node", "observe", "--type", "trace-sock", "-f"]
        command += ["--json", "--socket", str(self.socket), *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                until("the programs tell", self.is_observed)
                yield map(json.loads, process.stdout)
            finally:
                process.kill()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, node: Netns) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "objects").mkdir()
    for number, each in enumerate(OBJECTS):
        (folder / f"objects/{number}.json").write_text(json.dumps(each))
    with two_pods(tmp_path_factory.mktemp("bpffs")) as pods:
        made = Stage(pods, node, folder)
        try:
            made.start("--components", "policy,proxy")
            yield made
        finally:
            made.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def node() -> Iterator[Netns]:
    made = scratch.make()
    made.ip(["addr add 192.168.7.1/32 dev lo"])
    yield made
    scratch.remove(made)


def test_a_pods_call_to_a_service_is_seen(stage: Stage) -> None:
    with stage.following() as flows:
        assert stage.pods.dial(f"{VIP}/80", f"{EMPTY}/80") == ["connected", "Connection refused"]
        first, second = next(flows), next(flows)
    assert first["source"]["pod_name"] == "frontend"
    assert first["destination_service"] == {"name": "db", "namespace": "shop"}
    assert (first["dialled"], first["destination"]["pod_name"]) == (f"{VIP}:80", "db")
    assert (second["verdict"], second["destination_service"]["name"]) == ("DROPPED", "empty")
    until("the programs tell no more", lambda: not stage.is_observed())


def test_maps_are_dumped_in_names_and_what_is_left_to_nftables_has_reasons(stage: Stage) -> None:
    done = stage.run("dump", "ebpf", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {each["Dialled"]: each for each in found["tables"]["frontends"]["rows"]}
    assert rows[f"{VIP}:80/TCP"]["Endpoints"] == f"{SERVER[0]}:5432 shop/db"
    assert rows[f"{VIP}:80/TCP"]["service"] == "shop/db:sql"
    left = {each["dialled"]: each for each in found["left_to_nftables"]}
    assert left[f"{LEFT}:80/TCP"]["service"] == "shop/guarded:sql"
    assert left[f"{LEFT}:80/TCP"]["reason"]
    settings = found["tables"]["settings"]["rows"][0]
    assert settings["Is"] == "node n1"


def test_the_doctor_finds_all_well(stage: Stage) -> None:
    done = stage.run("doctor", "--json")
    rows = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert rows["backend"]["seen"] == "ebpf"
    for name in ("agent", "nftables", "programs", "canary IPv4", "canary IPv6"):
        assert rows[name]["health"] == "ok", rows[name]


def test_after_a_crash_nothing_is_told_until_somebody_asks(stage: Stage) -> None:
    with stage.following():
        stage.end(signal.SIGKILL)
    assert stage.is_observed(), "nobody could clear it"
    stage.start("--components", "policy,proxy")
    assert not stage.is_observed()
    with stage.following() as flows:
        assert stage.pods.dial(f"{VIP}/80") == ["connected"]
        assert next(flows)["verdict"] == "TRANSLATED"


def test_who_follows_sees_more_after_somebody_took_the_pins_away(stage: Stage) -> None:
    stage.end(signal.SIGTERM)
    stage.start("--components", "policy,proxy", program=["-c", IMPATIENT])
    with stage.following() as flows:
        assert stage.pods.dial(f"{VIP}/80") == ["connected"]
        assert next(flows)["verdict"] == "TRANSLATED"
        subprocess.run(["rm", "-rf", stage.pods.place.folder], check=False)
        until("there are other programs, which tell", stage.is_observed, 60)
        until("they are attached", stage.is_served, 60)
        assert stage.pods.dial(f"{VIP}/80") == ["connected"]
        assert next(flows)["dialled"] == f"{VIP}:80"
    until("the programs tell no more", lambda: not stage.is_observed())
    assert "fault of podwire's own" not in (stage.folder / "agent.log").read_text()


def test_a_proxy_alone_answers_too(stage: Stage) -> None:
    stage.end(signal.SIGTERM)
    stage.start("--components", "proxy")
    with stage.following() as flows:
        assert stage.pods.dial(f"{VIP}/80") == ["connected"]
        found = next(flows)
    assert found["destination_service"]["name"] == "db"
    assert found["IP"]["source"] == CLIENT[0], "it reads no Pods, so their addresses are all"
    done = stage.run("explain", "shop/frontend", "shop/db:80")
    assert "no component policy" in done.stderr
    assert "no component policy" in stage.run("observe").stderr
