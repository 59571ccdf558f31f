"""The table of kernel and test; what failed, with its output; what was skipped, and why."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from results import Outcome, Results, Test
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_LINES = 40
#: What a reason says of the kernel that it was skipped on: the table has it beside.
_THIS = re.compile(r", this is [^,]*")
#: As these tests fail on every kernel, they are told once.
_ALL = "all"


def show(console: Console, results: Sequence[Results], userland: str) -> None:
    """Print everything that a person wants to know."""
    for each in results:
        _show_failures(console, each)
    _show_skips(console, results)
    console.print(_table(results))
    console.print(f"userland: {userland}", highlight=False)
    for each in results:
        for trouble in each.troubles():
            console.print(f"[red]✗[/] {each.version}: {escape(trouble)}")


def write(path: Path, results: Iterable[Results], userland: str) -> None:
    """The same as JSON: {"userland", "kernels": [{"version", "package", "groups", "tests"}]}."""
    kernels = [
        {
            "version": each.version,
            "package": each.package,
            "bootSeconds": each.booted,
            "seconds": round(each.seconds, 1),
            "fine": each.fine,
            "troubles": each.troubles(),
            "groups": {
                group: {str(key): value for key, value in sorted(each.counts(group).items())}
                for group in each.groups
            },
            "tests": each.tests,
        }
        for each in results
    ]
    document = msgspec.json.encode({"userland": userland, "kernels": kernels})
    path.write_bytes(msgspec.json.format(document, indent=1) + b"\n")


def _table(results: Sequence[Results]) -> Table:
    """A column for each kernel, a row for each file of tests."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("tests", no_wrap=True)
    for each in results:
        mark = "[green]✓[/]" if each.fine else "[red]✗[/]"
        table.add_column(f"{mark} {each.version}", justify="right", no_wrap=True)
    for group in dict.fromkeys(group for each in results for group in each.groups):
        took = [_took(each, group) for each in results]
        table.add_row(f"[bold]{group}[/]", *took)
        of_group = [[test for test in each.tests if test.group == group] for each in results]
        for file in sorted({test.file for tests in of_group for test in tests}):
            cells = [_cell(test for test in tests if test.file == file) for tests in of_group]
            table.add_row(f"  {file}", *cells)
    table.add_section()
    table.add_row("all", *(_cell(each.tests) for each in results))
    table.add_row("boot", *(f"{each.booted:.0f} s" if each.booted else "—" for each in results))
    table.add_row("seconds", *(f"{each.seconds:.0f} s" for each in results))
    return table


def _took(each: Results, group: str) -> str:
    if group not in each.groups:
        return ""
    ended = each.ended.get(group)
    return f"[dim]{ended.seconds:.0f} s[/]" if ended else "[red]cut off[/]"


def _cell(tests: Iterable[Test]) -> str:
    """Passed, failed, skipped; nothing where none ran."""
    counts = Counter(each.outcome for each in tests)
    words = [f"{counts[Outcome.PASSED]} ✓"] if counts else []
    if failed := counts[Outcome.FAILED]:
        words.append(f"[red]{failed} ✗[/]")
    if skipped := counts[Outcome.SKIPPED]:
        words.append(f"[dim]{skipped} ∅[/]")
    return "  ".join(words)


def _show_failures(console: Console, each: Results) -> None:
    for test in each.of(Outcome.FAILED):
        console.rule(f"[red]{each.version}[/] {escape(test.name)}", align="left")
        lines = test.text.splitlines()
        if len(lines) > _LINES:
            lines = [f"… {len(lines) - _LINES} lines before, see --json", *lines[-_LINES:]]
        console.print("\n".join(lines), markup=False, highlight=False)
    if each.troubles() and each.last_words:
        console.rule(f"[red]{each.version}[/] the console's last lines", align="left")
        console.print(each.last_words, markup=False, highlight=False)


def _show_skips(console: Console, results: Sequence[Results]) -> None:
    """Each reason once, with the kernels and how many tests it is the reason of."""
    found: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in results:
        for test in each.of(Outcome.SKIPPED):
            found[_THIS.sub("", test.text)][each.version] += 1
    if not found:
        return
    table = Table("skipped because", "on", box=box.SIMPLE_HEAD)
    for reason, versions in sorted(found.items()):
        where = _ALL if len(versions) == len(results) > 1 else ", ".join(versions)
        tests = max(versions.values())
        table.add_row(escape(reason), f"{where} ({tests} test{'s' if tests > 1 else ''})")
    console.print(table)
