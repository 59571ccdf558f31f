"""How fast policies are put in force and changed, and what they cost a connection.

policing/   loads, pods that come and go, memory, connect(); beside kube-router's ruleset

What is compared alternates in one run, so that what else the machine does falls on both.
Run it as root, with the project's environment: python bench/policy.py --help
"""

from __future__ import annotations

import json
import os
import shutil
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

import scratch  # noqa: E402 - found by the line above
from policing import agent, connecting, report, rounds  # noqa: E402 - same
from rows import Row, beside_table, bounds_table, result_line  # noqa: E402 - same
from steps import progress  # noqa: E402 - same

_MORE_STEPS = 6  # an agent; four nodes are made ready, then connected through


def measure(sizes: rounds.Sizes) -> report.Measured:
    """Everything, with its progress on standard error."""
    steps = len(list(rounds.schedule(sizes))) + _MORE_STEPS
    with (
        tempfile.TemporaryDirectory(prefix="podwire-bench-") as folder,
        progress(steps) as told,
    ):
        loads = rounds.run_loads(sizes, told.told)
        told.told(f"a whole agent, {rounds.many(sizes).policies:,} policies")
        run = agent.run_agent(sizes.many, Path(folder))
        connects = connecting.run_connects(sizes, Path(folder), told.told)
    return report.Measured(sizes, loads, run, connects)


def document(found: report.Measured, judged: list[Row]) -> dict[str, object]:
    """Everything as JSON: the figures by name, what stands beside them, each run."""
    named = {row.name: {**asdict(row), "value": row.value, "ok": row.ok} for row in judged}
    return {"figures": named, "beside": {row.words: row.runs for row in report.beside(found)}}


def _needs() -> None:
    """Say what is missing now, and not after minutes."""
    if os.geteuid() != 0:
        raise click.ClickException("needs root, for network namespaces: run it with sudo")
    tools = ("gcc", "nsenter", "nft", "ip", "ipset", "iptables-restore")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise click.ClickException(
            f"missing: {', '.join(missing)}; `make bench-policy` installs them"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small and once: whether it works, not how fast.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure policies: load, pods that come and go, memory, connect().

    The last line is `RESULT name=value …` (with --json, on standard error). Exits with 1 when a
    bound is not held; --quick does not judge. Everything lives in namespaces of its own, which
    are gone afterwards.

    \b
    Examples:
      python bench/policy.py            all of it, about five minutes
      python bench/policy.py --quick    a smoke test, seconds
    """  # noqa: D301 - click wants a real backspace before lines that it shall not wrap
    _needs()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: cleaned up
    began = time.monotonic()
    try:
        found = measure(rounds.QUICK if quick else rounds.Sizes())
    except (subprocess.SubprocessError, TimeoutError, RuntimeError, AssertionError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        scratch.sweep()
    click.echo(f"measured in {(time.monotonic() - began) / 60:.1f} minutes", err=True)
    judged = report.figures(found)
    if as_json:
        click.echo(json.dumps(document(found, judged)))
    else:
        Console().print(beside_table(report.beside(found)), bounds_table(judged, "Policies"))
    click.echo(result_line(judged), err=as_json)
    sys.exit(not quick and not all(row.ok for row in judged))


if __name__ == "__main__":
    main()
