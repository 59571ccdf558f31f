"""How fast Services are put in force, changed and reached, beside kube-proxy's layout and itself.

loading      decoded objects ─► kernel, each load in a fresh process and a fresh namespace
connecting   client ── node ── server, one connection after the other, the layouts in turn
peers        podwire and kube-proxy against one real API server (where `make kubernetes` built it)
figures      the medians, and which of them hold their bound
curves       build/bench/services.svg

What is compared alternates in one run, so that what else the machine does falls on both.
Run it as root, with the project's environment: python bench/services.py --help
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration" / "tools")]

import filling  # noqa: E402 - found by the line above
import peers  # noqa: E402 - same
import scratch  # noqa: E402 - same
from connecting import run_connects  # noqa: E402 - same
from figures import Measured, beside, figures  # noqa: E402 - same
from loading import QUICK, Sizes, run_loads, schedule  # noqa: E402 - same
from rows import Row, beside_table, bounds_table, result_line  # noqa: E402 - same
from steps import progress  # noqa: E402 - same

#: Beside the loads: four steps of connecting, and of peers the filling, connecting and the runs.
_CONNECT_STEPS, _PEER_STEPS = 5, 2

PICTURES = HERE.parent / "build" / "bench"


def measure(sizes: Sizes, *, with_peers: bool) -> Measured:
    """Everything, with its progress on standard error."""
    steps = len(list(schedule(sizes))) + _CONNECT_STEPS
    steps += with_peers * (_PEER_STEPS + 2 * sizes.peer_rounds)
    with (
        tempfile.TemporaryDirectory(prefix="podwire-bench-") as folder,
        progress(steps) as told,
    ):
        loads = run_loads(sizes, told.told)
        connects = run_connects(sizes, Path(folder), told.told)
        total = filling.objects(sizes.services)
        found = (
            peers.run_peers(sizes, told.told, lambda: told.filled(total)) if with_peers else None
        )
    return Measured(sizes, loads, connects, found)


def document(found: Measured, judged: list[Row]) -> dict[str, object]:
    """Everything as JSON: the figures by name, what stands beside them, each run."""
    named = {row.name: {**asdict(row), "value": row.value, "ok": row.ok} for row in judged}
    others = {row.words: row.runs for row in beside(found)}
    return {"figures": named, "beside": others}


def _needs() -> None:
    """Say what is missing now, and not after ten minutes."""
    if os.geteuid() != 0:
        raise click.ClickException("needs root, for network namespaces: run it with sudo")
    if importlib.util.find_spec("matplotlib") is None:
        raise click.ClickException(
            "matplotlib is missing, it draws the curves: .venv/bin/pip install -e '.[bench]'"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small and once: whether it works, not how fast.")
@click.option(
    "--kube-proxy/--no-kube-proxy",
    "wanted",
    default=None,
    help="Measure kube-proxy itself too.  [default: where it is built; not with --quick]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
@click.option(
    "--pictures",
    default=PICTURES,
    show_default="build/bench",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the curves.",
)
def main(*, quick: bool, wanted: bool | None, as_json: bool, pictures: Path) -> None:
    """Measure the proxy: load, growth, one change, memory, connect().

    The last line is `RESULT name=value …` (with --json, on standard error). Exits with 1 when a
    bound is not held; --quick does not judge. Everything lives in namespaces of its own, which
    are gone afterwards.

    \b
    Examples:
      python bench/services.py                   all of it, about ten minutes
      python bench/services.py --quick           a smoke test, seconds
      python bench/services.py --no-kube-proxy   without an API server: half the time
    """  # noqa: D301 - click wants a real backspace before lines that it shall not wrap
    _needs()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: cleaned up
    if wanted and not peers.built():
        raise click.ClickException("there is no kube-proxy: `make kubernetes` builds one")
    with_peers = (not quick and peers.built()) if wanted is None else wanted
    began = time.monotonic()
    try:
        found = measure(QUICK if quick else Sizes(), with_peers=with_peers)
    except (subprocess.CalledProcessError, TimeoutError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        scratch.sweep()
    minutes = (time.monotonic() - began) / 60
    click.echo(f"measured in {minutes:.1f} minutes", err=True)
    judged = figures(found)
    _report(found, judged, pictures, as_json=as_json)
    sys.exit(not quick and not all(row.ok for row in judged))


def _report(found: Measured, judged: list[Row], pictures: Path, *, as_json: bool) -> None:
    from curves import draw  # noqa: PLC0415 - matplotlib, which _needs() looked for

    drawn = draw(found, pictures)
    if as_json:
        click.echo(json.dumps(document(found, judged)))
    else:
        console = Console()
        console.print(beside_table(beside(found)), bounds_table(judged, "Services"))
        console.print(f"curves: {', '.join(path.name for path in drawn)} in {pictures}")
    click.echo(result_line(judged), err=as_json)


if __name__ == "__main__":
    main()
