"""What Services cost a socket when it is answered at connect(), beside nftables and nothing.

sockets/   connect(), connect and ask, UDP, a stream, in turns; loads, changes, memory

What is compared takes turns in one run, so that what else the machine does falls on all of it.
Run it as root, with the project's environment: python bench/ebpf.py --help
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
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration" / "tools")]

import scratch  # noqa: E402 - found by the line above
from attaching import private  # noqa: E402 - same
from rows import Row, beside_table, bounds_table, result_line  # noqa: E402 - same
from sockets import agent, places, report, sites  # noqa: E402 - same
from sockets.turns import Turn, Work, build, take_turns  # noqa: E402 - same
from steps import progress  # noqa: E402 - same


def measure(sizes: sites.Sizes) -> report.Measured:
    """Everything, with its progress on standard error."""
    steps = len(sites.loads(sizes)) + len(Work) + sizes.fills + 2
    with (
        tempfile.TemporaryDirectory(prefix="podwire-bench-") as text,
        progress(steps) as told,
    ):
        folder = Path(text)
        turns = _turns(sizes, folder, told.told)
        fills = sites.run_fills(sizes, folder, told.told)
        told.told("a whole agent")
        run = agent.run_agent(sizes.services, sizes.endpoints, folder)
    return report.Measured(sizes, turns, fills, run)


def _turns(
    sizes: sites.Sizes, folder: Path, told: Callable[[object], object]
) -> dict[Work, dict[str, list[Turn]]]:
    """All work, done by all contenders."""
    program = build(folder)
    found: dict[Work, dict[str, list[Turn]]] = {}
    with ExitStack() as undo:
        contenders = list(sites.contenders(sizes, folder, told, undo))
        for work, (turns, count) in {
            Work.CONNECT: sizes.connects,
            Work.EXCHANGE: sizes.exchanges,
            Work.DATAGRAMS: sizes.datagrams,
            Work.CONVERSATION: sizes.datagrams,
            Work.STREAM: sizes.streams,
        }.items():
            told(f"{len(contenders)} contenders: {work}")
            found[work] = take_turns(program, work, contenders, turns, count)
    return found


def document(found: report.Measured, judged: list[Row]) -> dict[str, object]:
    """Everything as JSON: the figures by name, the contenders, what stands beside them."""
    named = {row.name: {**asdict(row), "value": row.value, "ok": row.ok} for row in judged}
    contenders = {each.words: asdict(each) for each in report.standings(found)}
    others = {row.words: row.runs for row in report.beside(found)}
    return {"figures": named, "contenders": contenders, "beside": others}


def _needs() -> None:
    """Say what is missing now, and not after minutes."""
    if os.geteuid() != 0:
        raise click.ClickException("needs root, for namespaces and cgroups: run it with sudo")
    missing = [tool for tool in ("gcc", "nsenter", "nft", "ip") if not shutil.which(tool)]
    if missing:
        raise click.ClickException(
            f"missing: {', '.join(missing)}; `make bench-ebpf` installs them"
        )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Small and once: whether it works, not how fast.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON in place of tables.")
def main(*, quick: bool, as_json: bool) -> None:
    """Measure sockets that are answered at connect(), beside nftables and nothing.

    The last line is `RESULT name=value …` (with --json, on standard error). Exits with 1 when a
    bound is not held; --quick does not judge. Everything lives in namespaces, cgroups and mounts
    of its own, which are gone afterwards.

    \b
    Examples:
      python bench/ebpf.py            all of it, about four minutes
      python bench/ebpf.py --quick    a smoke test, seconds
    """  # noqa: D301 - click wants a real backspace before lines that it shall not wrap
    _needs()
    private.enter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C: cleaned up
    began = time.monotonic()
    try:
        places.sweep()
        found = measure(sites.QUICK if quick else sites.Sizes())
    except (subprocess.SubprocessError, TimeoutError, RuntimeError, AssertionError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        scratch.sweep()
    click.echo(f"measured in {(time.monotonic() - began) / 60:.1f} minutes", err=True)
    judged = report.figures(found)
    if as_json:
        click.echo(json.dumps(document(found, judged)))
    else:
        Console().print(
            report.standings_table(found),
            beside_table(report.beside(found)),
            bounds_table(judged, "Sockets"),
        )
    click.echo(result_line(judged), err=as_json)
    sys.exit(not quick and not all(row.ok for row in judged))


if __name__ == "__main__":
    main()
