"""How long pods wait for their network: ours beside the stock plugins, and what it costs.

attaching/   one by one, many at once, the client alone, 10,000 pairs through one agent

What is compared takes turns, pod by pod, on nodes that are alike, each a namespace of its own.
Run it as root, with the project's environment: python bench/cni.py --help
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration" / "tools")]

import scratch  # noqa: E402 - found by the line above
from attaching import (  # noqa: E402 - same
    client,
    contenders,
    pairs,
    private,
    report,
    rounds,
    spawning,
)
from rows import Row, bounds_table, result_line  # noqa: E402 - same
from steps import Steps, progress  # noqa: E402 - same


def measure(sizes: rounds.Sizes) -> report.Measured:
    """Everything, with its progress on standard error."""
    steps = sizes.rounds + sizes.burst_rounds + 4
    with ExitStack() as stack:
        told = stack.enter_context(progress(steps))
        told.told("building")
        folder = Path("/run/programs")
        folder.mkdir()
        spawn, program = spawning.build(folder), contenders.build_client(folder)
        return _measure(sizes, spawn, program, told)


def _measure(sizes: rounds.Sizes, spawn: Path, program: Path, told: Steps) -> report.Measured:
    with ExitStack() as stack:
        several = [
            stack.enter_context(contenders.stock(contenders.PTP)),
            stack.enter_context(contenders.stock(contenders.BRIDGE)),
            stack.enter_context(contenders.with_agent(contenders.PODWIRE, program, "cni")),
            stack.enter_context(
                contenders.with_agent(contenders.PODWIRE_ALL, program, "cni,proxy,policy")
            ),
            stack.enter_context(contenders.alone()),
        ]
        singles = rounds.run_singles(spawn, several, sizes, told.told)
        bursts = rounds.run_bursts(spawn, several, sizes, told.told)
        told.told("two families")
        both = _both_families(sizes, spawn, program)
        told.told("the client alone")
        found = client.run_client(spawn, program, sizes.client_calls)
        told.told("pairs")
        total = pairs.steps(sizes)
        served = next(each for each in several if each.name == contenders.PODWIRE)
        grown = pairs.run_pairs(spawn, served, sizes, lambda: told.filled(total))
    return report.Measured(sizes, singles, bursts, both, found, grown)


def _both_families(sizes: rounds.Sizes, spawn: Path, program: Path) -> rounds.Rounds:
    """A few pods, because stock plugins wait two seconds for each."""
    both = contenders.BOTH
    with (
        contenders.stock(contenders.PTP, both) as ptp,
        contenders.stock(contenders.BRIDGE, both) as bridge,
        contenders.with_agent(contenders.PODWIRE, program, "cni", both) as ours,
    ):
        several = [ptp, bridge, ours]
        made = rounds.singles(spawn, several, [sizes.both_families] * len(several))
        return {name: [each] for name, each in made}


def document(found: report.Measured, judged: list[Row]) -> dict[str, object]:
    """Everything as JSON: the figures by name, and every call behind them."""
    named = {
        row.name or row.words: {**asdict(row), "value": row.value, "ok": row.ok} for row in judged
    }
    return {"figures": named, **report.document(found)}


def _needs() -> None:
    """Say what is missing now, and not after minutes."""
    if os.geteuid() != 0:
        raise click.ClickException("needs root, for network namespaces: run it with sudo")
    missing = [
        tool for tool in ("gcc", "make", "unshare", "nsenter", "ip") if not shutil.which(tool)
    ]
    if missing:
        raise click.ClickException(f"missing: {', '.join(missing)}; `make setup` installs them")
    if not (contenders.STOCK / contenders.PTP).exists():
        lack = f"the stock plugins are not in {contenders.STOCK}"
        raise click.ClickException(f"{lack}: install Debian's containernetworking-plugins")
    if not contenders.ALONE.exists():
        lack = f"podwire-cni is not in {contenders.ALONE.parent}"
        raise click.ClickException(
            f"{lack}: run it with the project's environment, .venv/bin/python"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small and once: whether it works, not how fast.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure ADD and DEL: one by one, many at once, the client alone, the agent's memory.

    The last line is `RESULT name=value …` (with --json, on standard error). Exits with 1 when a
    bound is not held; --quick does not judge. Everything lives in namespaces and mounts of its
    own, which are gone afterwards.

    \b
    Examples:
      python bench/cni.py            all of it, about four minutes
      python bench/cni.py --quick    a smoke test, seconds
    """  # noqa: D301 - click wants a real backspace before lines that it shall not wrap
    _needs()
    private.enter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: cleaned up
    began = time.monotonic()
    try:
        found = measure(rounds.QUICK if quick else rounds.Sizes())
    except (subprocess.SubprocessError, spawning.CallFailed, RuntimeError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        scratch.sweep()
    click.echo(f"measured in {(time.monotonic() - began) / 60:.1f} minutes", err=True)
    judged = report.figures(found)
    if as_json:
        click.echo(json.dumps(document(found, judged)))
    else:
        Console().print(*report.tables(found), bounds_table(judged, "Pods' networks"), sep="\n")
    click.echo(result_line(judged), err=as_json)
    sys.exit(not quick and not all(row.ok for row in judged))


if __name__ == "__main__":
    main()
