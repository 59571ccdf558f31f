"""The agent in proxyMode ebpf and auto: who answers at sockets, and what happens when it fails.

Places are those of tests/tables/flows/places.py; whoever dials from the node or from its pod c is
in a cgroup of the test's own, where the agent attaches its programs.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import bpf_place
import pytest
from flow_servers import Servers
from flow_site import site
from flows.places import ADDRESSES
from scratch import Netns, until

from podwire_core.family import Family
from podwire_ebpf import links
from podwire_ebpf.place import Place
from podwire_ebpf.plane import open_tables, remove
from podwire_ebpf.records import FrontendKey
from podwire_proxy import layout

V4, V6 = Family
HOME = "node1"
VIP = {V4: "10.96.0.10", V6: "fd00:10:96::10"}
KEY = {family: FrontendKey(vip, 80, 6) for family, vip in VIP.items()}

_DIAL = """
import os, socket, sys
cgroup, source, address, port, times = sys.argv[1:]
open(f"{cgroup}/cgroup.procs", "w").write(str(os.getpid()))
import ctypes
ctypes.CDLL(None).setns(os.open(source, os.O_RDONLY), 0x40000000)
for _ in range(int(times)):
    try:
        client = socket.create_connection((address, int(port)), 3)
        client.sendall(b"hello\\n")
        print(client.recv(200).decode().split(":")[0], client.getpeername()[0])
    except OSError as error:
        print(type(error).__name__)
"""


#: Puts the pinned programs at a link, as an agent for which that was an uplink.
_ATTACH = """
import sys
from contextlib import closing
from pathlib import Path
from podwire_ebpf import uplink
from podwire_ebpf.plane import Place, open_plane
folder, cgroup, link = sys.argv[1:]
with closing(open_plane(Place(Path(cgroup), Path(folder)))) as plane:
    uplink.attach(link, plane.external().programs)
"""

#: An agent that looks each second whether its programs are there.
_IMPATIENT = """
import runpy
from podwire_node.sockets.prover import Prover
Prover.__init__.__defaults__ = (1.0,)
runpy.run_module("podwire_node", run_name="__main__", alter_sys=True)
"""

#: An agent whose kernel takes the programs at sockets alone.
_WITHOUT_EXTERNAL = """
import runpy
from podwire_ebpf.errors import Unsupported
from podwire_ebpf.plane import Plane
def external(self):
    raise Unsupported("this kernel has no clsact")
Plane.external = external
runpy.run_module("podwire_node", run_name="__main__", alter_sys=True)
"""


class Agent:
    """node1's agent, its folder of objects, its place, and what can be asked of it."""

    def __init__(self, netns: dict[str, Netns], folder: Path, place: Place) -> None:
        self.netns, self.folder, self.place = netns, folder, place
        self.home = netns["node"]
        self.program = ["-m", "podwire_node"]
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "objects").mkdir()
        addresses = [{"type": "InternalIP", "address": each} for each in ADDRESSES["node"].values()]
        self.put("Node", HOME, status={"addresses": addresses})

    def put(self, kind: str, name: str, labels: dict[str, str] | None = None, **rest: Any) -> None:
        version = "discovery.k8s.io/v1" if kind == "EndpointSlice" else "v1"
        metadata = {"name": name, "labels": labels or {}}
        document = {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
        hidden = self.folder / "objects" / ".new"
        hidden.write_text(json.dumps(document))
        hidden.rename(self.folder / "objects" / f"{kind}.{name}.json")

    def service(self, **spec: Any) -> None:
        vips = list(VIP.values())
        ports = [{"name": "tcp", "port": 80, "protocol": "TCP", "nodePort": 30080}]
        self.put(
            "Service",
            "web",
            spec={"clusterIPs": vips, "clusterIP": vips[0], "ports": ports, **spec},
        )

    def endpoints(self, *pods: str) -> None:
        for family in Family:
            rows = [{"addresses": [ADDRESSES[pod][family]], "nodeName": HOME} for pod in pods]
            self.put(
                "EndpointSlice",
                f"web-{family.nft}",
                {"kubernetes.io/service-name": "web"},
                addressType=str(family),
                ports=[{"name": "tcp", "port": 8080, "protocol": "TCP"}],
                endpoints=rows,
            )

    def begin(self, mode: str = "ebpf", *more: str) -> None:
        status = self.folder / "status.json"
        status.unlink(missing_ok=True)
        options = ["--node", HOME, "--feed", str(self.folder / "objects"), "--status", str(status)]
        options += ["--components", "proxy", "--metrics-bind-address", "127.0.0.1:10249"]
        options += ["--proxy-mode", mode, "--ebpf-folder", str(self.place.folder)]
        options += ["--ebpf-cgroup", str(self.place.cgroup), "--control-socket", "", *more]
        inside = ["nsenter", f"--net=/run/netns/{self.home.name}"]
        command = [*inside, sys.executable, *self.program, "agent", "-v", *options]
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def start(self, mode: str = "ebpf", *more: str) -> dict[str, Any]:
        self.begin(mode, *more)
        until("the agent is ready", lambda: self.status().get("ready", False), 40)
        return self.status()

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None

    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.folder / "status.json").read_bytes())
        except FileNotFoundError:
            return {}
        return found

    @property
    def log(self) -> str:
        return (self.folder / "agent.log").read_text()

    def fetch(self, path: str) -> str:
        words = ["curl", "--noproxy", "*", "-sS", "-m", "5", f"http://127.0.0.1:10249{path}"]
        return self.home.run(*words)

    def metric(self, name: str) -> str:
        lines = self.fetch("/metrics").splitlines()
        return next((each.split()[-1] for each in lines if each.startswith(name)), "")

    def dial(self, source: str, address: str, port: int = 80, times: int = 1) -> list[list[str]]:
        """Who answers, and whom the client believes to talk to; or how it failed."""
        inside = f"/run/netns/{self.netns[source].name}"
        words = [str(self.place.cgroup), inside, address, str(port), str(times)]
        command = [sys.executable, "-c", _DIAL, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    def served(self, family: Family = V4) -> set[str]:
        """Addresses that the maps have for the Service's own address."""
        with closing(open_tables(self.place)) as tables:
            row = tables.frontends.get(KEY[family])
            return {each.address for each in row.first} if row else set()

    def connections(self) -> int:
        """How many the programs have translated."""
        with closing(open_tables(self.place)) as tables:
            return sum(each.connections for each in tables.counters.read().values())

    def hooks(self) -> set[int]:
        """How many programs run at each hook."""
        return {len(each) for each in links.in_effect(self.place.cgroup).values()}

    def cleanup(self, folder: Path) -> list[list[str]]:
        """`podwire cleanup` of the proxy: what it removed."""
        words = ["-m", "podwire_node", "cleanup", "--components", "proxy", "--json"]
        out = self.home.run(sys.executable, *words, "--ebpf-folder", str(folder))
        rows = json.loads(out)["rows"]
        return [[row["kind"], row["name"], row["outcome"]] for row in rows]

    def forget_nftables(self) -> None:
        """Take the proxy's tables away, from an agent that does not run: sockets are alone."""
        for family in Family:
            self.home.run("nft", "delete", "table", *layout.table(family).key)


@pytest.fixture(scope="module")
def namespaces() -> Iterator[dict[str, Netns]]:
    with site() as netns:
        servers = Servers()
        servers.start({each: netns[each] for each in ("a", "b")}, {"a": [8080], "b": [8080]})
        try:
            yield netns
        finally:
            servers.close()


@pytest.fixture
def agent(namespaces: dict[str, Netns], tmp_path: Path) -> Iterator[Agent]:
    (tmp_path / "bpf").mkdir()
    with bpf_place.place(tmp_path / "bpf") as place:
        made = Agent(namespaces, tmp_path, place)
        made.service()
        made.endpoints("a", "b")
        try:
            yield made
        finally:
            made.stop(signal.SIGKILL)
            for folder in place.folder.parent.iterdir():
                remove(Place(place.cgroup, folder))
            for family in Family:
                made.home.run("nft", "add", "table", *layout.table(family).key)
                made.home.run("nft", "delete", "table", *layout.table(family).key)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("source", ["node", "c"])
def test_sockets_are_answered_where_nftables_is_not(
    agent: Agent, source: str, family: Family
) -> None:
    status = agent.start()
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [])
    assert agent.fetch("/proxyMode") == "ebpf"
    agent.stop()
    agent.forget_nftables()
    heard = agent.dial(source, VIP[family], times=8)
    assert {each for each, _ in heard} == {"a", "b"}
    assert {peer for _, peer in heard} == {VIP[family]}, "it talks to whom it dialled"


def test_nodeports_answer_at_the_nodes_addresses_and_no_others(agent: Agent) -> None:
    agent.start()
    agent.stop()
    agent.forget_nftables()
    for family in Family:
        assert len(agent.dial("c", ADDRESSES["node"][family], 30080)[0]) == 2
        assert len(agent.dial("c", ADDRESSES["node2"][family], 30080)[0]) == 1, "not ours to answer"


def test_nodeports_answer_at_localhost_in_both_families_where_asked_for(agent: Agent) -> None:
    agent.start("ebpf", "--nodeport-addresses", "primary,localhost")
    for loopback in ("127.0.0.1", "127.0.0.2", "::1"):
        ((who, peer),) = agent.dial("node", loopback, 30080)
        assert (who in {"a", "b"}, peer) == (True, loopback)


def test_an_address_of_the_node_that_comes_is_answered(agent: Agent) -> None:
    agent.start("ebpf", "--nodeport-addresses", "all")
    before = agent.connections()
    agent.home.run("ip", "address", "add", "192.0.2.77/32", "dev", "lo")
    try:
        until("it is in the maps", lambda: "192.0.2.77" in _addresses(agent))
        assert len(agent.dial("node", "192.0.2.77", 30080)[0]) == 2
        assert agent.connections() == before + 1
    finally:
        agent.home.run("ip", "address", "del", "192.0.2.77/32", "dev", "lo")
    until("it is there no more", lambda: "192.0.2.77" not in _addresses(agent))


def _addresses(agent: Agent) -> set[str]:
    with closing(open_tables(agent.place)) as tables:
        return set(tables.addresses.read())


def test_an_endpoint_that_goes_is_dialled_no_more_and_none_refuses(agent: Agent) -> None:
    agent.start()
    agent.endpoints("a")
    until("b is gone", lambda: agent.served() == {ADDRESSES["a"][V4]})
    assert {who for who, _ in agent.dial("c", VIP[V4], times=5)} == {"a"}
    agent.endpoints()
    until("all are gone", lambda: agent.served() == set())
    assert agent.dial("c", VIP[V4]) == [["ConnectionRefusedError"]]


def test_an_endpoint_goes_at_once_while_nftables_refuses_everything(agent: Agent) -> None:
    agent.start()
    table = f"table ip {layout.TABLE_NAME}"
    with agent.home.popen("nft", "-i") as other:  # who owns a table alone may change it
        assert other.stdin is not None
        other.stdin.write(f"delete {table}; add {table} {{ flags owner; }}\n")
        other.stdin.flush()
        try:
            until("the kernel refuses", lambda: agent.status()["failures"]["proxy"] > 1)
            agent.endpoints("b")
            until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
            assert {who for who, _ in agent.dial("c", VIP[V4], times=4)} == {"b"}
        finally:
            other.stdin.close()
            other.wait(10)
    until("nftables serves too", lambda: agent.status()["in_sync"])


def test_a_restart_writes_nothing_and_keeps_serving(agent: Agent) -> None:
    agent.start()
    agent.stop(signal.SIGKILL)
    assert len(agent.dial("c", VIP[V4])[0]) == 2, "what is attached goes on alone"
    (agent.folder / "agent.log").write_text("")
    agent.start()
    assert "DEBUG sockets:" not in agent.log, "no row is written"
    assert "4 frontends, and 0 left to nftables" in agent.log
    assert agent.status()["transactions"] == {"proxy": 0}
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_what_changed_while_nobody_ran_is_the_difference(agent: Agent) -> None:
    agent.start()
    agent.stop()
    agent.endpoints("b")
    agent.start()
    assert agent.served() == {ADDRESSES["b"][V4]}
    assert agent.served(V6) == {ADDRESSES["b"][V6]}


def test_links_that_someone_removed_are_made_again(agent: Agent) -> None:
    agent.start()
    agent.stop()
    for each in (agent.place.folder / "links").iterdir():
        each.unlink()
    agent.forget_nftables()
    assert len(agent.dial("c", VIP[V4])[0]) == 1, "nobody serves"
    agent.start()
    assert agent.metric("podwire_proxy_sockets_attached") == "1.0"
    before = agent.connections()
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == before + 1


def test_mode_auto_falls_back_where_programs_cannot_be(agent: Agent) -> None:
    status = agent.start("auto", "--ebpf-folder", str(agent.folder / "no-bpffs"))
    assert status["proxy_backend"] == "nftables"
    assert "is not on bpffs" in status["proxy_fallback"]
    assert agent.fetch("/proxyMode") == "nftables"
    assert agent.metric('podwire_proxy_backend{backend="ebpf"}') == "0.0"
    assert agent.metric("podwire_proxy_backend_fallback{") == "1.0"
    assert "nftables alone answers for Services" in agent.log
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_mode_ebpf_ends_where_programs_cannot_be_and_says_what_to_do(agent: Agent) -> None:
    agent.begin("ebpf", "--ebpf-folder", str(agent.folder / "no-bpffs"))
    assert agent.process is not None
    assert agent.process.wait(30) == 1
    agent.process = None
    assert "is not on bpffs: name a folder below /sys/fs/bpf" in agent.log.splitlines()[-1]


def test_mode_nftables_detaches_what_an_earlier_run_left(agent: Agent) -> None:
    agent.start("ebpf")
    agent.stop()
    agent.start("nftables")
    until("its folder is gone", lambda: not agent.place.folder.exists())
    assert "an earlier agent's programs at sockets are detached" in agent.log
    assert len(agent.dial("c", VIP[V4])[0]) == 2


def test_mode_nftables_detaches_what_another_folder_keeps_attached(agent: Agent) -> None:
    """Who drops the mode from the configuration often drops the folder, too."""
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    agent.start("nftables", "--ebpf-folder", str(agent.place.folder.with_name("other")))
    until("nothing is attached", lambda: agent.hooks() == {0})
    until("its folder is gone", lambda: not agent.place.folder.exists())
    assert "an earlier agent's programs at sockets are detached: 9 programs" in agent.log
    assert agent.status()["problems"] == []


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_a_folder_that_changed_takes_over(agent: Agent, mode: str) -> None:
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    other = agent.place.folder.with_name("other")
    status = agent.start(mode, "--ebpf-folder", str(other))
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [])
    assert agent.hooks() == {1}
    assert not agent.place.folder.exists()
    agent.place = Place(agent.place.cgroup, other)
    agent.endpoints("b")
    until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
    assert {who for who, _ in agent.dial("c", VIP[V4], times=6)} == {"b"}


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_where_programs_cannot_be_any_more_nothing_stays_attached(agent: Agent, mode: str) -> None:
    """In mode ebpf the agent ends, and no one would keep the maps of the run before."""
    agent.start("ebpf")
    agent.stop(signal.SIGKILL)
    agent.begin(mode, "--ebpf-folder", str(agent.folder / "no-bpffs"))
    until("nothing is attached", lambda: agent.hooks() == {0}, 40)
    agent.endpoints("b")
    if mode == "auto":
        until("nftables serves", lambda: agent.status().get("in_sync", False), 40)
        assert {who for who, _ in agent.dial("c", VIP[V4], times=6)} == {"b"}
    else:
        assert agent.process is not None
        assert agent.process.wait(30) == 1
        agent.process = None


def test_what_another_agent_uses_stays_until_it_ended(agent: Agent) -> None:
    agent.start("ebpf")
    other, status = agent.process, agent.folder / "status.json"
    try:
        agent.start("nftables", "--metrics-bind-address", "")
        until("it is told", lambda: "in use by" in str(agent.status()["problems"]))
        assert agent.hooks() == {1}
    finally:
        assert other is not None
        other.kill()
        other.wait(20)
    assert status.exists()


@pytest.mark.parametrize("how", ["removed", "unmounted"])
def test_where_pins_are_gone_they_come_again(agent: Agent, how: str) -> None:
    agent.program = ["-c", _IMPATIENT]
    agent.start("ebpf")
    folder = agent.place.folder
    if how == "removed":
        subprocess.run(["rm", "-rf", folder], check=True)
    else:
        subprocess.run(["umount", "--lazy", folder.parent], check=True)
        until("it says so", lambda: agent.status()["proxy_backend"] == "nftables")
        until("the kernel has let go", lambda: agent.hooks() == {0})
        assert len(agent.dial("c", VIP[V4])[0]) == 2, "nftables serves"
        subprocess.run(["mount", "-t", "bpf", "bpf", folder.parent], check=True)
    until("it is there again", lambda: folder.exists() and agent.hooks() == {1}, 40)
    until("it is told", lambda: agent.status()["proxy_backend"] == "ebpf")
    agent.endpoints("b")
    until("a is gone", lambda: agent.served() == {ADDRESSES["b"][V4]})
    before = agent.connections()
    assert {who for who, _ in agent.dial("c", VIP[V4], times=4)} == {"b"}
    assert agent.connections() == before + 4


def test_a_folder_that_is_no_bpffs_is_not_touched(agent: Agent) -> None:
    """A typing error in a setting deletes nobody's files."""
    folder = agent.folder / "home"
    kept = folder / "maps-of-europe" / "alps.pdf"
    kept.parent.mkdir(parents=True)
    folder.chmod(0o755)
    kept.write_text("a map")
    assert agent.cleanup(folder) == []
    agent.start("nftables", "--ebpf-folder", str(folder))
    agent.stop()
    agent.start("auto", "--ebpf-folder", str(folder))
    assert kept.read_text() == "a map"
    assert folder.stat().st_mode & 0o777 == 0o755


def test_what_is_another_nodes_stays(agent: Agent, namespaces: dict[str, Netns]) -> None:
    agent.start("ebpf")
    agent.stop()
    agent.home = namespaces["node2"]
    agent.start("nftables")
    try:
        assert agent.place.folder.exists()
    finally:
        agent.stop()
        agent.forget_nftables()
        agent.home = namespaces["node"]


def test_cleanup_detaches_what_is_ours(agent: Agent) -> None:
    agent.start("ebpf")
    agent.stop()
    assert ["programs", str(agent.place.folder), "removed"] in agent.cleanup(agent.place.folder)
    assert not agent.place.folder.exists()
    assert agent.hooks() == {0}
    assert len(agent.dial("c", VIP[V4])[0]) == 1, "and nftables' tables went, too"


def test_cleanup_finds_what_is_attached_without_its_folder(agent: Agent) -> None:
    """And at uplinks: filters stay when their folder is removed."""
    agent.start("ebpf", "--ebpf-external")
    agent.stop()
    (link,) = _uplinks(agent, "outside")
    rows = agent.cleanup(agent.place.folder.with_name("other"))
    cgroup = agent.place.cgroup.stat().st_ino
    assert ["programs", f"of uplink {link}", "removed"] in rows
    assert ["programs", f"9 programs at the cgroup with id {cgroup}", "removed"] in rows
    assert agent.hooks() == {0}
    assert not agent.place.folder.exists()
    assert "pw_outside_in" not in _filters(agent, link)


def test_what_is_left_to_nftables_is_served_by_it(agent: Agent) -> None:
    agent.start("ebpf", "--masquerade-all")
    assert agent.served() == set()
    assert agent.metric("podwire_proxy_sockets_left") == "2.0"
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == 0
    assert len(agent.dial("c", ADDRESSES["node"][V4], 30080)[0]) == 2
    assert agent.connections() == 1, "NodePorts are not left"


def test_what_comes_from_outside_is_answered_at_the_uplink_where_asked_for(agent: Agent) -> None:
    agent.start("ebpf", "--ebpf-external")
    assert agent.status()["problems"] == []
    (link,) = _uplinks(agent, "outside")
    until("the programs are at the uplink", lambda: "pw_outside_in" in _filters(agent, link))
    before = agent.connections()
    words = ["curl", "--noproxy", "*", "-s", "-m", "5"]
    for family in Family:
        host = ADDRESSES["node"][family]
        address = f"[{host}]" if family is V6 else host
        agent.netns["outside"].run(*words, f"telnet://{address}:30080", check=False)
    assert agent.connections() == before + 2
    rules = agent.home.run("nft", "list", "chain", "ip", layout.TABLE_NAME, "postrouting")
    assert "meta mark & 0x10000000 != 0x00000000" in rules
    agent.stop()
    agent.start("nftables")
    until("they are gone", lambda: "pw_outside_in" not in _filters(agent, link))


@pytest.mark.parametrize("mode", ["ebpf", "auto"])
def test_sockets_are_served_where_programs_at_uplinks_cannot_be(agent: Agent, mode: str) -> None:
    """nftables answers what comes from outside, also where an earlier run had programs there."""
    agent.start("ebpf", "--ebpf-external")
    (link,) = _uplinks(agent, "outside")
    until("the programs are at the uplink", lambda: "pw_outside_in" in _filters(agent, link))
    agent.stop(signal.SIGKILL)
    agent.program = ["-c", _WITHOUT_EXTERNAL]
    status = agent.start(mode, "--ebpf-external")
    problem = "what comes from outside is answered by nftables: this kernel has no clsact"
    assert (status["proxy_backend"], status["problems"]) == ("ebpf", [problem])
    assert problem in agent.log
    assert "pw_outside_in" not in _filters(agent, link)
    before = agent.connections()
    words = ["curl", "--noproxy", "*", "-s", "-m", "5"]
    agent.netns["outside"].run(*words, f"telnet://{ADDRESSES['node'][V4]}:30080", check=False)
    assert agent.connections() == before, "no program counts it"
    assert len(agent.dial("c", VIP[V4])[0]) == 2
    assert agent.connections() == before + 1


def test_filters_of_an_earlier_run_go_where_no_uplink_is(agent: Agent) -> None:
    """Also where they are not asked for any more: the maps they read are filled by nobody."""
    agent.start("ebpf", "--ebpf-external")
    agent.stop(signal.SIGKILL)
    (link,) = _uplinks(agent, "outside")
    (before,) = _uplinks(agent, "c")
    words = [sys.executable, "-c", _ATTACH, str(agent.place.folder), str(agent.place.cgroup)]
    agent.home.run(*words, before)
    assert "pw_outside_in" in _filters(agent, before)
    agent.start("ebpf", "--ebpf-external")
    until("they are gone", lambda: "pw_outside_in" not in _filters(agent, before))
    assert "pw_outside_in" in _filters(agent, link)
    agent.stop(signal.SIGKILL)
    agent.start("ebpf")
    until("they are gone, too", lambda: "pw_outside_in" not in _filters(agent, link))


def test_a_filter_that_someone_took_away_comes_again(agent: Agent) -> None:
    agent.program = ["-c", _IMPATIENT]
    agent.start("ebpf", "--ebpf-external")
    (link,) = _uplinks(agent, "outside")
    until("it is there", lambda: "pw_outside_in" in _filters(agent, link))
    agent.home.run("tc", "qdisc", "del", "dev", link, "clsact")
    until("it is there again", lambda: "pw_outside_in" in _filters(agent, link))


def test_a_filter_of_anothers_with_our_numbers_stays(agent: Agent) -> None:
    (link,) = _uplinks(agent, "c")
    agent.home.run("tc", "qdisc", "add", "dev", link, "clsact")
    words = "pref 112 handle 112 bpf da bytecode"
    rule = [*f"dev {link} ingress {words}".split(), "1,6 0 0 4294967295,"]
    agent.home.run("tc", "filter", "add", *rule)
    try:
        agent.start("nftables")
        agent.stop()
        assert agent.cleanup(agent.place.folder.with_name("other"))
        assert "pref 112 bpf" in _filters(agent, link)
    finally:
        agent.home.run("tc", "qdisc", "del", "dev", link, "clsact")


def _uplinks(agent: Agent, place: str) -> list[str]:
    """The node's link to a place: where the route to it leads."""
    out = agent.home.run("ip", "-j", "route", "get", ADDRESSES[place][V4])
    return [each["dev"] for each in json.loads(out)]


def _filters(agent: Agent, link: str) -> str:
    return agent.home.run("tc", "filter", "show", "dev", link, "ingress", check=False)
