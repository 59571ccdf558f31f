"""The agent on a real API server: late podCIDRs, the Node's condition, events, readiness.

control plane 192.168.90.1 ── net0 ── 192.168.90.11 node, with the agent
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import cluster_policy_kind as kind
import pytest
from control_plane import ADDRESS, ControlPlane, control_plane
from scratch import Netns, took, until

NODES = "/api/v1/nodes"
EVENTS = "/api/v1/namespaces/default/events"


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with control_plane(tmp_path_factory.mktemp("plane")) as made:
        yield made


READ = ["get", "list", "watch"]
#: What an agent of all components needs; `get` of what it watches is for events' uids.
RIGHTS: list[dict[str, list[str]]] = [
    {
        "apiGroups": [""],
        "resources": ["nodes", "namespaces", "pods", "services"],
        "verbs": READ,
    },
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": READ},
    {"apiGroups": ["networking.k8s.io"], "resources": ["servicecidrs"], "verbs": READ},
    {
        "apiGroups": ["policy.networking.k8s.io"],
        "resources": ["clusternetworkpolicies"],
        "verbs": READ,
    },
    {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "get", "patch"]},
]


@contextmanager
def account(site: Site, rules: list[dict[str, list[str]]]) -> Iterator[Path]:
    """A kubeconfig whose token has these rights and no others."""
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    roles, bindings = (
        f"/apis/rbac.authorization.k8s.io/v1/{row}"
        for row in ("clusterroles", "clusterrolebindings")
    )
    name, request = site.node, site.plane.request
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    request("POST", accounts, {"metadata": {"name": name}})
    request("POST", roles, {"metadata": {"name": name}, "rules": rules})
    request("POST", bindings, {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
    try:
        token = request("POST", f"{accounts}/{name}/token", {"spec": {}})["status"]["token"]
        config = json.loads(site.plane.kubeconfig.read_text())
        config["users"][0]["user"] = {"token": token}
        path = site.folder / "kubeconfig"
        path.write_text(json.dumps(config))
        yield path
    finally:
        for where in (bindings, roles, accounts):
            request("DELETE", f"{where}/{name}")


@dataclass
class Site:
    """A node's namespace, its agent, and the cluster that it is in."""

    plane: ControlPlane
    netns: Netns
    folder: Path
    node: str
    agent: subprocess.Popen[bytes] | None = None
    made: list[str] = field(default_factory=list)

    @property
    def conflist(self) -> Path:
        return self.folder / "net.d/10-podwire.conflist"

    def start(self, *options: str) -> None:
        (self.folder / "status.json").unlink(missing_ok=True)
        inside = ["nsenter", f"--net=/run/netns/{self.netns.name}"]
        command = [sys.executable, "-m", "podwire_node", "agent", "--node", self.node]
        feed = ["--feed", "kubernetes", "--kubeconfig", str(self.plane.kubeconfig)]
        feed += ["--api-server", f"https://{ADDRESS}:6443"]
        status = ["--status", str(self.folder / "status.json"), "-v"]
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen([*inside, *command, *feed, *status, *options], stderr=log)

    def start_with_cni(self) -> None:
        """With all that a runtime is told of."""
        self.start(
            *("--cni-conf-dir", str(self.folder / "net.d")),
            *("--cni-socket", str(self.folder / "cni/agent.sock")),
            *("--cni-state-dir", str(self.folder / "cni/state")),
        )

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.agent is not None
        self.agent.send_signal(number)
        return self.agent.wait(60)

    def status(self) -> dict[str, Any]:
        path = self.folder / "status.json"
        found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
        return found

    def ready(self) -> None:
        until("the agent is ready", lambda: self.status().get("ready", False))

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def make_node(self, name: str, *cidrs: str, address: str = "") -> None:
        spec = {"podCIDR": cidrs[0], "podCIDRs": list(cidrs)} if cidrs else {}
        self.plane.request("POST", NODES, {"metadata": {"name": name}, "spec": spec})
        self.made.append(name)
        if address:
            addresses = [{"type": "InternalIP", "address": address}]
            self.patch(name, {"addresses": addresses})

    def patch(self, node: str, status: dict[str, Any]) -> None:
        self.plane.request("PATCH", f"{NODES}/{node}/status", {"status": status})

    def condition(self) -> dict[str, str]:
        """Our Node's NetworkUnavailable; empty while it has none."""
        status = self.plane.request("GET", f"{NODES}/{self.node}")["status"]
        rows = [row for row in status.get("conditions", ()) if row["type"] == "NetworkUnavailable"]
        return rows[0] if rows else {}

    def events(self, name: str) -> list[dict[str, Any]]:
        found = self.plane.request("GET", EVENTS)["items"]
        return [each for each in found if each["involvedObject"].get("name") == name]

    def tables(self) -> str:
        return self.netns.run("nft", "list", "tables")

    def make_pod(self, name: str, address: str) -> None:
        """A pod of our node, as the API server has it; it runs nowhere."""
        pods = "/api/v1/namespaces/default/pods"
        container = {"name": "only", "image": "none"}
        spec = {"nodeName": self.node, "containers": [container]}
        self.plane.request("POST", pods, {"metadata": {"name": name}, "spec": spec})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.plane.request("PATCH", f"{pods}/{name}/status", {"status": status})

    def denies(self) -> bool:
        """Whether a ClusterNetworkPolicy of the tier Admin is in force."""
        return "chain admin-egress-" in self.netns.run("nft", "list", "ruleset")

    def waits(self) -> str:
        """What it waits for, in words."""
        return " ".join(map(str, self.status().get("waiting", ())))

    def may(self, kubeconfig: Path, resource: str) -> bool:
        """Whether the server lets this token list them; it learns of roles a moment later."""
        kubectl = [str(self.plane.programs / "kubectl"), "--kubeconfig", str(kubeconfig)]
        asked = ("auth", "can-i", "list", f"{resource}.policy.networking.k8s.io")
        return "yes" in self.plane.netns.run(*kubectl, *asked, check=False)


@pytest.fixture
def site(plane: ControlPlane, new_netns: Callable[[], Netns], tmp_path: Path) -> Iterator[Site]:
    netns = new_netns()
    netns.run(
        "ip",
        "link",
        "add",
        "eth0",
        "type",
        "veth",
        "peer",
        "name",
        "to-node",
        "netns",
        plane.netns.name,
    )
    netns.run("ip", "address", "add", "192.168.90.11/24", "dev", "eth0")
    netns.run("ip", "link", "set", "eth0", "up")
    plane.netns.run("ip", "link", "set", "to-node", "master", "net0")
    plane.netns.run("ip", "link", "set", "to-node", "up")
    made = Site(plane, netns, tmp_path, f"node-{netns.name}")
    yield made
    if made.agent is not None and made.agent.poll() is None:
        made.agent.kill()
        made.agent.wait()
    for name in made.made:
        plane.request("DELETE", f"{NODES}/{name}")
    plane.netns.run("ip", "link", "delete", "to-node", check=False)


def test_pod_cidrs_may_come_late(site: Site) -> None:
    site.make_node(site.node, address="192.168.90.11")
    site.make_node("other", "10.244.9.0/24", address="192.168.90.19")
    site.start_with_cni()
    site.ready()
    assert site.status()["waiting"] == [f"podCIDRs of Node {site.node}"]
    assert not site.conflist.exists()
    assert site.condition() == {}
    spec = {"podCIDR": "10.244.8.0/24", "podCIDRs": ["10.244.8.0/24"]}
    site.plane.request("PATCH", f"{NODES}/{site.node}", {"spec": spec})
    until("the conflist is there", site.conflist.exists)
    assert "10.244.8.0/24" in site.conflist.read_text()
    until("it waits for nothing", lambda: site.status()["waiting"] == [])
    assert "10.244.9.0/24 via 192.168.90.19" in site.netns.run("ip", "route")
    assert site.status()["pod_cidrs"] == ["10.244.8.0/24"]
    assert site.status()["in_sync"]
    until("the condition is cleared", lambda: site.condition().get("status") == "False")
    site.make_node("far", "10.244.7.0/24", address="172.16.0.9")
    until("the MTU leaves room for the overlay", lambda: "1450" in site.conflist.read_text())
    assert site.status()["mtu"] == 1450


def test_without_a_node_of_our_name_it_says_so_and_goes_on(site: Site) -> None:
    site.make_node("other", "10.244.9.0/24", address="192.168.90.19")
    site.start()
    site.ready()
    assert f"Node {site.node} is not there: is that our name?" in site.status()["problems"]
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    until("it is there", lambda: site.status()["problems"] == [])
    route = "10.244.9.0/24 via 192.168.90.19"
    until("routes come", lambda: route in site.netns.run("ip", "route"))


def test_the_condition_is_cleared_each_time_someone_sets_it(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    bad = {
        "type": "NetworkUnavailable",
        "status": "True",
        "reason": "NoRouteCreated",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    site.patch(site.node, {"conditions": [bad, ready]})
    site.start()
    for _ in range(2):
        until("it is cleared", lambda: site.condition()["status"] == "False")
        assert site.condition()["reason"] == "PodwireIsUp"
        assert site.condition()["lastTransitionTime"] > "2020-01-01T00:00:00Z"
        rows = site.plane.request("GET", f"{NODES}/{site.node}")["status"]["conditions"]
        assert [row["status"] for row in rows if row["type"] == "Ready"] == ["True"]
        site.patch(site.node, {"conditions": [bad, ready]})
    until("it is cleared again", lambda: site.condition()["status"] == "False")
    before = site.condition()
    site.stop()
    assert site.condition() == before, "an agent that ends takes nothing back"
    site.start()
    site.ready()
    site.make_node("leaning", address="no-address")
    until("something was sent", lambda: site.status()["letters"]["sent"] >= 1)
    assert site.condition() == before, "what is cleared is not touched"


def test_a_condition_that_was_forbidden_is_cleared_once_it_may_be(site: Site) -> None:
    """The Node does not change meanwhile: the agent comes back to it by itself."""
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    rules = [rule for rule in RIGHTS if "nodes/status" not in rule["resources"]]
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{site.node}"
    with account(site, rules) as kubeconfig:
        site.start("--kubeconfig", str(kubeconfig))
        until("it is refused", lambda: site.status().get("letters", {}).get("failed", 0) >= 2)
        assert site.condition() == {}
        site.plane.request("PATCH", role, {"rules": RIGHTS})
        until("it is cleared", lambda: site.condition().get("status") == "False")
        assert site.log().count("nodes/status") <= 1, "the refusal was said once"


def test_without_component_cni_the_condition_is_someone_elses(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.start("--components", "proxy,policy")
    site.ready()
    site.make_node("bad", address="nonsense")
    until("an event was sent", lambda: len(site.events("bad")) == 1)
    assert site.condition() == {}


def test_a_bad_object_is_one_event_also_after_a_restart(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_node("crooked", "10.244.7.0/24", address="not-an-address")
    for _ in range(2):
        site.start()
        site.ready()
        until(
            "it is named", lambda: any("Node crooked" in row for row in site.status()["problems"])
        )
        until("it is told", lambda: site.status()["letters"]["sent"] >= 1)
        until("there is an event", lambda: bool(site.events("crooked")))
        (event,) = site.events("crooked")
        assert event["message"].startswith("status.addresses[0].address: ")
        assert (event["type"], event["reason"], event["count"]) == ("Warning", "Unusable", 1)
        uid = site.plane.request("GET", f"{NODES}/crooked")["metadata"]["uid"]
        assert event["involvedObject"]["uid"] == uid
        assert site.stop() == 0
    kubectl = [str(site.plane.programs / "kubectl"), "--kubeconfig", str(site.plane.kubeconfig)]
    described = site.plane.netns.run(*kubectl, "describe", "node", "crooked")
    assert "Unusable" in described
    assert "podwire" in described


def test_pod_cidrs_that_overlap_are_an_event_on_their_node(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_node("greedy", "10.244.0.0/16", address="192.168.90.19")
    site.start()
    until("it is told", lambda: len(site.events("greedy")) == 1)
    assert "overlaps" in site.events("greedy")[0]["message"]


@pytest.mark.parametrize(
    ("components", "tables", "forwards"),
    [
        ("policy", {"podwire-policy"}, "0"),
        ("proxy", {"podwire-proxy"}, "1"),
        ("cni", {"podwire-guard", "podwire-masquerade"}, "1"),
        ("proxy,policy", {"podwire-policy", "podwire-proxy"}, "1"),
    ],
)
def test_an_agent_touches_only_its_components(
    site: Site, components: str, tables: set[str], forwards: str
) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_node("other", "10.244.9.0/24", address="192.168.90.19")
    every = ("podwire-proxy", "podwire-policy", "podwire-guard", "podwire-masquerade")
    kept = [name for name in every if name not in tables]
    for name in kept:
        site.netns.run("nft", f"add table ip {name} {{ chain theirs {{ }} ; }}")
    site.netns.run("sysctl", "-q", "net.ipv4.ip_forward=0")
    site.start("--components", components)
    site.ready()
    for name in tables:
        assert f"table ip {name}\n" in site.tables()
        assert f"table ip6 {name}\n" in site.tables()
    for name in kept:
        assert "theirs" in site.netns.run("nft", "list", "table", "ip", name)
        assert f"table ip6 {name}\n" not in site.tables()
    assert ("10.244.9.0/24" in site.netns.run("ip", "route")) == ("cni" in components)
    assert site.netns.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == forwards
    assert site.status()["components"] == components.split(",")


def test_masquerade_that_is_turned_off_is_gone(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.start()
    site.ready()
    assert "podwire-masquerade" in site.tables()
    site.stop()
    site.start("--no-masquerade")
    site.ready()
    assert "podwire-masquerade" not in site.tables()
    assert "podwire-proxy" in site.tables()


def test_forwarding_that_someone_turns_off_is_back_at_once(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.start()
    site.ready()
    for name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
        waits = []
        for _ in range(3):
            site.netns.run("sysctl", "-q", f"{name}=0")
            read = partial(site.netns.run, "sysctl", "-n", name)
            waits.append(took("it is on", lambda: read().strip() == "1"))  # noqa: B023 - waited for here
        assert min(waits) < 1, (name, waits)


def test_ready_waits_for_the_api_server(site: Site) -> None:
    """No answer, no first sync: nothing is put in force, and the status says what it waits for."""
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.netns.run("ip", "route", "add", "blackhole", ADDRESS)
    site.start()
    until("it says so", lambda: bool(site.status().get("problems")))
    assert not site.status()["ready"]
    assert site.status()["waiting"]
    assert "podwire" not in site.tables()
    site.netns.run("ip", "route", "del", "blackhole", ADDRESS)
    site.ready()
    assert "podwire-proxy" in site.tables()


def test_an_api_server_that_went_away_is_no_source_to_be_in_sync_with(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.start()
    site.ready()
    until("it is in sync", lambda: site.status()["in_sync"])
    site.plane.stop("kube-apiserver")
    until("it says so", lambda: not site.status()["in_sync"])
    assert site.status()["ready"], "what was ready stays so"
    site.plane.start_api_server()
    until("it is in sync again", lambda: site.status()["in_sync"], seconds=60)


@pytest.mark.parametrize("unread", ["NetworkPolicy", "ClusterNetworkPolicy"])
def test_what_it_may_not_read_is_named_and_the_rest_goes_on(site: Site, unread: str) -> None:
    """All the rights that an agent needs, but one: a Service goes on, policies stay as they are."""
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    tilted = f"tilted-by-{unread.lower()}"  # an event each, in one cluster
    site.make_node(tilted, address="no-address")
    site.netns.run("nft", "add table ip podwire-policy { chain theirs { } ; }")
    resource = unread.lower().replace("policy", "policies")
    rules = [rule for rule in RIGHTS if resource not in rule["resources"]]
    with account(site, rules) as kubeconfig:
        site.start("--kubeconfig", str(kubeconfig))
        until("Services are served", lambda: "podwire-proxy" in site.tables())
        until("the event was sent", lambda: len(site.events(tilted)) == 1)
        until("it says what it waits for", lambda: bool(site.status().get("waiting")))
        status = site.status()
        assert not status["ready"]
        assert not status["in_sync"]
        assert status["waiting"][0].startswith(f"{unread}: ")
        assert any("forbidden" in row and f'"{resource}"' in row for row in status["problems"])
        assert "theirs" in site.netns.run("nft", "list", "table", "ip", "podwire-policy")
        assert site.condition() == {}, "pods may not come where no policy would hold them"


def test_what_administrators_deny_stays_denied_until_it_is_known_to_be_gone(site: Site) -> None:
    """A role without the right (403) says nothing of policies; a server without the kind does."""
    kind.teach(site.plane)
    kind.apply(site.plane, "jail", JAIL)
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_pod("jailed", "10.244.8.9")
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{site.node}"
    with account(site, RIGHTS) as kubeconfig:
        options = ("--kubeconfig", str(kubeconfig), "--components", "policy")
        site.start(*options)
        site.ready()
        until("it is denied", site.denies)
        site.stop()
        less = [rule for rule in RIGHTS if "clusternetworkpolicies" not in rule["resources"]]
        site.plane.request("PATCH", role, {"rules": less})
        until("the role is less", lambda: not site.may(kubeconfig, "clusternetworkpolicies"))
        site.start(*options)
        until("it says what it lacks", lambda: "clusternetworkpolicies" in site.waits())
        assert site.denies()
        site.plane.request("PATCH", role, {"rules": RIGHTS})
        until("it is ready", lambda: site.status()["ready"])
        assert site.denies()
        site.stop()
        kind.unteach(site.plane)
        site.start(*options)
        until("it doubts the first answer", lambda: "404" in site.log())
        assert site.denies()
        site.ready()
        until("nothing denies it", lambda: not site.denies())


JAIL = {
    "tier": "Admin",
    "priority": 1,
    "subject": {"namespaces": {}},
    "egress": [{"action": "Deny", "to": [{"networks": ["192.0.2.0/24"]}]}],
}


def test_these_rights_are_all_it_needs(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_node("slipped", address="no-address")
    with account(site, RIGHTS) as kubeconfig:
        site.start("--kubeconfig", str(kubeconfig))
        site.ready()
        until("the event was sent", lambda: len(site.events("slipped")) == 1)
        until("the condition is cleared", lambda: site.condition().get("status") == "False")
        both = {"sent": 2, "failed": 0, "dropped": 0}
        until("both are counted", lambda: site.status()["letters"] == both)
        site.stop()
        site.start("--kubeconfig", str(kubeconfig))
        site.ready()
        until("it was told again", lambda: site.status()["letters"]["sent"] == 1)
        assert site.events("slipped")[0]["count"] == 1
        assert "forbidden" not in site.log()


def test_json_logs_are_one_object_a_line(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    site.make_node("slanted", address="no-address")
    site.start("--log-format", "json")
    site.ready()
    site.stop()
    rows = [json.loads(line) for line in site.log().splitlines()]
    assert {row["node"] for row in rows} == {site.node}
    assert "Node slanted" in {row.get("object") for row in rows}
    assert {"policy", "proxy"} <= {row.get("component") for row in rows}
    assert "admin-token" not in site.log()


def test_settings_may_come_from_a_file(site: Site) -> None:
    site.make_node(site.node, "10.244.8.0/24", address="192.168.90.11")
    path = site.folder / "config.yaml"
    path.write_text("components: [policy]\nlogFormat: json\n")
    site.start("--config", str(path))
    site.ready()
    assert site.status()["components"] == ["policy"]
    with pytest.raises(HTTPError):
        site.plane.request("GET", f"{NODES}/nobody")
