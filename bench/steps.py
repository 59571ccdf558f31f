"""What a benchmark is doing just now, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


class Steps:
    """Which step it is, of how many, and what it does."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)
        self._filled = bar.add_task("parts", total=None, visible=False)

    def told(self, step: object) -> None:
        """The next step begins."""
        done = self._bar.tasks[0].description != ""
        self._bar.update(self._task, description=str(step), advance=1.0 if done else 0.0)

    def filled(self, total: int) -> None:
        """One more of so many parts of this step is done."""
        self._bar.update(self._filled, total=total, advance=1.0, visible=True)


@contextmanager
def progress(total: int) -> Iterator[Steps]:
    """So many steps, shown for as long as the block lasts."""
    columns = (SpinnerColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    words = TextColumn("{task.description}")
    with Progress(*columns, words, console=Console(stderr=True), transient=True) as bar:
        yield Steps(bar, total)
