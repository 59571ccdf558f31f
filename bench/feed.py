"""How fast and how small the API feed is, on a real API server full of Services.

    namespace of the plane                     namespace of the node
    etcd ── kube-apiserver ── net0 ─────────── eth0   podwire agent ─► nftables
                  ▲                                                        │ announcement
                  └─ this program: fills it, changes one slice, waits ◄────┘

    feed_s       a cold process lists everything into a Snapshot, its imports included
    feed_rss_mb  the most memory a whole agent ever held: first sync and all the changes; or
                 started anew over the full tables, which it reads, and reads again after a drift
    change_ms    p50, from before an EndpointSlice is patched until nftables announces the commit

Run it as root, with the project's environment: python bench/feed.py --help
"""

from __future__ import annotations

import json
import random
import signal
import statistics
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration" / "tools")]

import cluster  # noqa: E402 - found by the line above
import filling  # noqa: E402 - same
import scratch  # noqa: E402 - same
from control_plane import ControlPlane, control_plane  # noqa: E402 - same
from memory import peak_mb  # noqa: E402 - same
from plane_node import plane_node  # noqa: E402 - same
from proxies import SERVER, agent, await_commit  # noqa: E402 - same
from scratch import Netns  # noqa: E402 - same

from podwire_core.nft.monitor import Monitor  # noqa: E402 - after the path, as all of ours
from podwire_proxy.services import TABLES  # noqa: E402 - same

STRAY = "198.51.100.1"  # no Service has it
WARM_UP = 20  # changes that are not counted
BOUNDS = {"feed_s": 10.0, "feed_rss_mb": 250.0, "change_ms": 10.0}


@dataclass
class Times:
    """Milliseconds of each change, by what the clock started with."""

    from_request: list[float]
    from_answer: list[float]


@dataclass
class Restarts:
    """What agents needed that found the tables full."""

    ready_s: list[float]
    repair_s: list[float]
    peaks_mb: list[float]


def cold_lists(plane: ControlPlane, node: Netns, runs: int) -> list[dict[str, float]]:
    """What bench/cold.py says, run by run."""
    kubeconfig = plane.folder / "kubeconfig.node"
    kubeconfig.write_text(plane.kubeconfig.read_text().replace("https://127.0.0.1:6443", SERVER))
    command = (sys.executable, "-W", "ignore", str(HERE / "cold.py"), str(kubeconfig))
    return [json.loads(node.run(*command)) for _ in range(runs)]


def change_times(plane: ControlPlane, node: Netns, services: int, changes: int, run: int) -> Times:
    """Patch one endpoint of a random slice, again and again, each time waiting for the kernel."""
    chosen = random.Random(run)  # noqa: S311 - chooses slices, keeps no secret
    times = Times([], [])
    with node.inside():
        monitor = Monitor(TABLES)
    with closing(monitor), filling.client(plane) as client:
        for turn in range(WARM_UP + changes):
            number = chosen.randrange(services)
            address = f"172.{16 + run}.{turn // 250}.{1 + turn % 250}"  # one that no slice has
            endpoints = [{"addresses": [address]}]
            endpoints += [cluster.endpoint(number, index) for index in range(1, 10)]
            monitor.foreign(0)
            before = time.perf_counter()
            client.send("PATCH", f"{cluster.SLICES}/service-{number:05}", {"endpoints": endpoints})
            answered = time.perf_counter()
            await_commit(monitor)
            now = time.perf_counter()
            if turn >= WARM_UP:
                times.from_request.append((now - before) * 1000)
                times.from_answer.append((now - answered) * 1000)
            time.sleep(chosen.uniform(0.01, 0.05))  # a cluster's changes do not stand in line
    return times


def restart(plane: ControlPlane, node: Netns, found: Restarts) -> None:
    """A new agent over the tables that another left full; then someone adds an element."""
    with node.inside():
        monitor = Monitor(TABLES)
    before = time.perf_counter()
    with closing(monitor), agent(plane, node) as process:
        found.ready_s.append(time.perf_counter() - before)
        if monitor.foreign(0):
            raise RuntimeError("the restarted agent changed tables that were right")
        node.run("nft", "add", "element", "ip", TABLES[0].name, "cluster-ips", f"{{ {STRAY} }}")
        before = time.perf_counter()
        if not monitor.foreign(1):  # one commit is the stray's own
            await_commit(monitor)
        found.repair_s.append(time.perf_counter() - before)
        found.peaks_mb.append(peak_mb(process.pid))


def spread(values: list[float], digits: int = 1) -> tuple[str, str, str, str]:
    """Runs, median, 95th percentile and worst, as text."""
    ordered = sorted(values)
    worst = ordered[-1]
    high = ordered[min(len(ordered) - 1, round(len(ordered) * 0.95))]
    middle = statistics.median(ordered)
    return (str(len(ordered)), *(f"{value:.{digits}f}" for value in (middle, high, worst)))


def table_of(rows: list[tuple[str, list[float]]]) -> Table:
    """What was measured, with its spread."""
    made = Table("measured", "runs", "p50", "p95", "worst", title="API server → feed → kernel")
    for column in made.columns[1:]:
        column.justify = "right"
    for words, values in rows:
        made.add_row(words, *spread(values, 2 if max(values) < 100 else 1))
    return made


def measure(plane: ControlPlane, services: int, runs: int, changes: int) -> dict[str, float]:
    """Everything, with a table on the terminal. Returns the three results."""
    peaks: list[float] = []
    times = Times([], [])
    restarts = Restarts([], [], [])
    with plane_node(plane) as node:
        colds = cold_lists(plane, node, runs)
        for run in range(runs):
            node.run("nft", "flush", "ruleset")
            with agent(plane, node) as process:
                found = change_times(plane, node, services, max(1, changes // runs), run)
                times.from_request += found.from_request
                times.from_answer += found.from_answer
                peaks.append(peak_mb(process.pid))
            restart(plane, node, restarts)
    rows = [
        ("cold list → Snapshot, s", [row["seconds"] for row in colds]),
        ("its peak, MB", [row["peak_mb"] for row in colds]),
        ("the agent's peak, MB", peaks),
        ("change: request sent → kernel, ms", times.from_request),
        ("change: request answered → kernel, ms", times.from_answer),
        ("restart over full tables → ready, s", restarts.ready_s),
        ("a stray element → repaired, s", restarts.repair_s),
        ("the restarted agent's peak, MB", restarts.peaks_mb),
    ]
    Console().print(table_of(rows))
    return {
        "feed_s": max(rows[0][1]),
        "feed_rss_mb": max(*peaks, *restarts.peaks_mb),
        "change_ms": statistics.median(times.from_request),
    }


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--services", default=10_000, show_default=True, help="Services in the API server.")
@click.option("--endpoints", default=10, show_default=True, help="Endpoints of each, in one slice.")
@click.option(
    "--runs",
    default=3,
    show_default=True,
    type=click.IntRange(1, 16),
    help="Cold starts of the feed and the agent.",
)
@click.option("--changes", default=300, show_default=True, help="Changes measured, of all runs.")
def main(services: int, endpoints: int, runs: int, changes: int) -> None:
    """Measure the API feed: cold list, the agent's memory, one change to the kernel.

    Worst of the runs for the first two, the median for the change. Exits with 1 when a bound
    is not held. Everything lives in namespaces of its own, which are gone afterwards.

    \b
    Examples:
      python bench/feed.py
      python bench/feed.py --services 500 --runs 1    a quick look
    """  # noqa: D301 - click wants a real backspace before lines that it shall not wrap
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: cleaned up
    try:
        with (
            tempfile.TemporaryDirectory(prefix="podwire-bench-") as folder,
            control_plane(Path(folder)) as plane,
        ):
            with Progress() as bar:
                task = bar.add_task("filling", total=filling.objects(services))
                filling.fill(plane, services, endpoints, lambda: bar.advance(task))
            results = measure(plane, services, runs, changes)
    finally:
        scratch.sweep()
    missed = [name for name, bound in BOUNDS.items() if results[name] > bound]
    for name in missed:
        click.echo(f"{name} is {results[name]:.1f}, more than {BOUNDS[name]:.0f}", err=True)
    click.echo("RESULT " + " ".join(f"{name}={value:.1f}" for name, value in results.items()))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
