"""What a guest said, read line by line: which tests passed on which kernel.

A guest may end at any moment. What it said until then counts, and what it did not say is a fault: a
group that never ended fails its kernel.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

#: pytest's exit codes for "all passed" and "nothing was collected" (all skipped by module).
_FINE = {0, 5}


class Outcome(StrEnum):
    """pytest's."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Line(msgspec.Struct, frozen=True):
    """One line of guest/session.py; which fields it has says what it tells."""

    group: str = ""
    test: str = ""
    outcome: Outcome = Outcome.PASSED
    seconds: float = 0
    text: str = ""
    collected: int = 0
    ended: str = ""
    status: int = 0
    booted: float = 0
    done: bool = False


class Test(msgspec.Struct, frozen=True):
    """One test on one kernel.  text: why it failed, or what it lacks."""

    group: str
    name: str
    outcome: Outcome
    seconds: float
    text: str

    @property
    def file(self) -> str:
        """Whose test it is: integration/ebpf/test_plane.py::test_x[y] is of ebpf/test_plane.py."""
        return self.name.partition("::")[0].removeprefix("integration/")


class Ended(msgspec.Struct, frozen=True):
    """A group that ran to its end.  status: pytest's exit code; negative: a signal ended it."""

    status: int
    seconds: float

    @property
    def words(self) -> str:
        """What is wrong, "" for nothing; failed tests (1) speak for themselves."""
        if self.status in _FINE or self.status == 1:
            return ""
        if self.status == -9:  # SIGKILL of guest/session.py
            return f"took longer than {self.seconds:.0f} s"
        return f"pytest ended with {self.status}"


@dataclass
class Results:
    """One kernel's.  version: upstream.  groups: the names of those that were to run."""

    version: str
    package: str
    groups: tuple[str, ...]
    tests: list[Test] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)
    booted: float = 0
    seconds: float = 0
    done: bool = False
    last_words: str = ""

    def take(self, raw: str) -> Line | None:
        """Read a line; None for one that is no line of a session (cut off by the guest's end)."""
        try:
            line = msgspec.json.decode(raw, type=Line)
        except msgspec.DecodeError:
            return None
        if line.test:
            self.tests.append(Test(line.group, line.test, line.outcome, line.seconds, line.text))
        if line.ended:
            self.ended[line.ended] = Ended(line.status, line.seconds)
        self.booted = line.booted or self.booted
        self.done = self.done or line.done
        return line

    def counts(self, group: str) -> Counter[Outcome]:
        """How many tests of a group passed, failed, were skipped."""
        return Counter(each.outcome for each in self.tests if each.group == group)

    def of(self, outcome: Outcome) -> list[Test]:
        """The tests with an outcome, in the order in which they ran."""
        return [each for each in self.tests if each.outcome is outcome]

    def troubles(self) -> list[str]:
        """What is wrong beside failed tests: groups that did not end, or ended oddly."""
        if not self.booted:
            return ["never came up"]
        found = []
        for group in self.groups:
            ended = self.ended.get(group)
            if ended is None:
                found.append(f"{group}: never ended")
            elif ended.words:
                found.append(f"{group}: {ended.words}")
            elif not any(each.group == group for each in self.tests):
                found.append(f"{group}: no test ran")
        return found if found or self.done else ["ended early"]

    @property
    def fine(self) -> bool:
        """Nothing failed, and everything ended."""
        return not self.troubles() and not self.of(Outcome.FAILED)
