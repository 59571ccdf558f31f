"""What is going on: on a terminal a line that changes for each guest, else a line for each step."""

from __future__ import annotations

import threading
from typing import Self

from results import Line, Outcome, Results
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


class Watch:
    """Told by the threads that read guests."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        columns = (
            TextColumn("{task.description:12}"),
            BarColumn(20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def step(self, words: str) -> None:
        """Something that takes seconds begins."""
        self._console.print(words, highlight=False)

    def boots(self, results: Results) -> None:
        """A guest's machine is on."""
        task = self._progress.add_task(results.version, total=0, now="boots")
        with self._lock:
            self._tasks[results.version] = task

    def hears(self, results: Results, line: Line) -> None:
        """A guest said a line."""
        task = self._tasks[results.version]
        if line.collected:
            (known,) = (each.total or 0 for each in self._progress.tasks if each.id == task)
            self._progress.update(task, total=known + line.collected)
            if not self._console.is_terminal:
                self.step(f"  {results.version} {line.group}: {line.collected} tests")
        if line.test:
            failed = len(results.of(Outcome.FAILED))
            words = f"{line.group}  {failed} failed" if failed else line.group
            self._progress.update(task, advance=1, now=words)
        if line.ended and not self._console.is_terminal:
            counts = results.counts(line.ended)
            said = ", ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))
            self.step(f"  {results.version} {line.ended}: {said}, {line.seconds:.0f} s")

    def ends(self, results: Results) -> None:
        """A guest's machine is off."""
        self._progress.update(self._tasks[results.version], now="ended")
        words = "fine" if results.fine else "not fine"
        self.step(f"  {results.version}: {words}, {results.seconds:.0f} s")
