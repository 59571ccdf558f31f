"""A lab whose Services are answered at connect(): the shop works, by sockets, and `down` ends it.

One lab with the shop (examples/shop, its policies included) serves the whole module.
"""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import kernel_features
import pytest
from scratch import until

from podwire_core.nft.tracer import Fate
from podwire_core.objects import ObjectName
from podwire_lab.lookup import find_pod
from podwire_lab.machine import cgroups, cluster, daemons, namespaces
from podwire_lab.overview import Lookout, look
from podwire_lab.show import reachability
from podwire_lab.show.draw import draw_topology
from podwire_lab.show.journey import journey
from podwire_lab.topology import Lab, ProxyMode, plan_lab
from podwire_lab.visit import run
from podwire_lab.workloads import LabPod

kernel_features.needs("cgroup_link")

SHOP = Path(__file__).parents[2] / "examples" / "shop"
V4, V6 = 0, 1
#: Dials, and says whom the program was told it talks to, and whom its kernel talks to.
DIAL = """
import json, socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as made:
    own = f"{made.getsockname()[1]:04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/net/{name}")]
    met = [row[2] for row in rows if row[1].endswith(f":{own}")]
    print(json.dumps([made.getpeername()[:2], met[0]]))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    planned = plan_lab(f"e{os.getpid()}", 2, proxy_mode=ProxyMode.EBPF)
    try:
        assert cluster.up(planned, [SHOP]).errors == ()
        yield planned
    finally:
        cluster.down(planned.name)
    assert what_is_left(planned.name) == []


def what_is_left(name: str) -> list[str]:
    """Cgroups and mounts of a lab."""
    mount = cgroups.mount()
    assert mount is not None
    groups = [str(each) for each in mount.glob(f"pw.{name}.*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return groups + [line for line in mounts if f"/lab/{name}/" in line]


def address(lab: Lab, name: str, family: int = V4) -> str:
    (row,) = (row for row in look(lab).services if row.name == name)
    return row.cluster_ips[family]


def dialled(lab: Lab, pod: str, to: str, port: int) -> tuple[list[object], str]:
    """Whom the program thinks it talks to, and whom its kernel does (getpeername, /proc/net)."""
    done = run(lab, pod, [sys.executable, "-I", "-c", DIAL, to, str(port)])
    assert done.returncode == 0, done.stderr
    told, met = json.loads(done.stdout)
    return told, readable(met.partition(":")[0])


def readable(text: str) -> str:
    """An address as /proc/net writes it: words in the machine's order."""
    raw = bytes.fromhex(text)
    words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    return str(ipaddress.ip_address(words))


def endpoints(lab: Lab, app: str) -> set[str]:
    with Lookout(lab) as lookout:
        lookout.look()
        pods = [pod for pod in lookout.snapshot.all(LabPod) if pod.labels.get("app") == app]
    return {ip for pod in pods for ip in pod.ips}


def test_nothing_is_wrong_and_status_and_drawing_name_the_mode(lab: Lab) -> None:
    with Lookout(lab) as lookout:
        overview = lookout.look()
        drawing = str(draw_topology(lab, lookout.snapshot))
    assert overview.problems == ()
    assert [row.agent.proxy_backend for row in overview.nodes] == ["ebpf", "ebpf"]
    assert drawing.count("proxy ebpf") == 2


@pytest.mark.parametrize("family", [V4, V6])
def test_a_pods_kernel_talks_to_an_endpoint_and_its_program_to_the_service(
    lab: Lab, family: int
) -> None:
    service = address(lab, "api", family)
    for _ in range(4):
        told, met = dialled(lab, "deploy/frontend", service, 80)
        assert told == [service, 80]
        assert met in endpoints(lab, "api")


def test_names_resolve_and_the_shop_answers(lab: Lab) -> None:
    done = run(lab, "deploy/frontend", ["curl", "-4s", "-m", "5", "http://api"])
    assert done.stdout.startswith("pod=shop/api-"), done.stderr


def test_a_node_reaches_services_by_its_sockets(lab: Lab) -> None:
    node = lab.nodes[0]
    before = cgroups.enter(lab, node)
    ((outcome, _),) = reachability.probe(
        node.netns, [("tcp", address(lab, "frontend"), 80)], 3, before
    )
    assert outcome == "answered"


def test_kernel_and_oracle_agree_under_the_shops_policies(lab: Lab) -> None:
    with Lookout(lab) as lookout:
        lookout.look()
        answers = reachability.ask(lab, lookout.snapshot)
    assert answers.differences == []
    assert answers.reached


def test_a_journey_is_told_from_connect_on(lab: Lab) -> None:
    with Lookout(lab) as lookout:
        lookout.look()
        pod = find_pod("deploy/frontend", lookout.snapshot.all(LabPod))
    agents = reachability.as_agents_see(lab)
    legs = journey(agents, pod.name, ObjectName("shop", "api"), 80, sockets=True)
    assert "connect() is answered" in legs[1].text
    assert not any("dnat" in leg.text for leg in legs)
    assert legs[-1].end is Fate.ACCEPT


def test_sockets_are_served_while_no_agent_runs(lab: Lab) -> None:
    service = address(lab, "api")
    with Lookout(lab) as lookout:
        lookout.look()
        pod = find_pod("deploy/frontend", lookout.snapshot.all(LabPod))
    node = lab.node(pod.spec.node_name)
    daemons.stop_agent(lab, node)
    try:
        told, met = dialled(lab, str(pod.name), service, 80)
        assert told == [service, 80]
        assert met in endpoints(lab, "api")
    finally:
        daemons.start_agent(lab, node)
    until("its agent is ready again", lambda: look(lab).missing == ())


def asked(lab: Lab, *question: str) -> tuple[int, str]:
    argv = [*daemons.podwire_argv(), "lab", "ask", "--name", lab.name, *question]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_node_whose_agent_does_not_run_is_looked_at_all_the_same(lab: Lab) -> None:
    """Without an agent, `dump` and `doctor` have the settings that the lab gave it."""
    node = lab.nodes[0]
    daemons.stop_agent(lab, node)
    try:
        code, told = asked(lab, node.name, "dump", "ebpf", "frontends", "--json")
        assert code == 0, told
        assert address(lab, "api") in told
        code, told = asked(lab, node.name, "doctor", "--json")
        assert code == 1, told
        found = {row["name"]: row for row in json.loads(told)["checks"]}
        assert str(cgroups.of(lab, node)) in found["cgroup"]["seen"]
        code, told = asked(lab, node.name, "explain", "shop/frontend", "shop/api:80")
        assert (code, "is not asked" in told) == (2, True)
    finally:
        daemons.start_agent(lab, node)
    until("its agent is ready again", lambda: look(lab).missing == ())


def test_what_agents_are_not_asked_is_named_with_what_they_are(lab: Lab) -> None:
    code, told = asked(lab, "node1", "frobnicate")
    assert code == 2
    assert "ask explain, observe, policy, dump, doctor" in told


def test_down_leaves_nothing_where_agents_and_kubelets_were_killed() -> None:
    planned = plan_lab(f"f{os.getpid()}", 1, proxy_mode=ProxyMode.EBPF)
    try:
        cluster.up(planned)
        for pid in (
            find(planned, planned.nodes[0]) for find in (daemons.agent_pid, daemons.runner_pid)
        ):
            assert pid  # 0 would be this very test
            os.kill(pid, signal.SIGKILL)
        assert what_is_left(planned.name)
    finally:
        cluster.down(planned.name)
    assert what_is_left(planned.name) == []
    assert namespaces.named(planned.prefix) == ()
