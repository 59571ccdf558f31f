"""What the agent writes to the API server, from a thread of its own that holds up no one.

    put(letter) ─► at most MAX_LETTERS; the oldest is dropped ─► a token ─► send ─► delivered
                              ▲                                              │
          behind all others   └──── no answer, 401, 409, 429, 5xx: wait ─────┤
                                                                             │
                  any other refusal, and the MAX_TRIES-th 409 or 5xx:        │
                  said once, the letter is dropped and counted ──────────────┘

Postbag is the bookkeeping, without clock, thread or network; Outbox runs it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from podwire_core.backoff import Backoff
from podwire_core.feed.api_server import ApiError, ApiServer

log = logging.getLogger(__name__)

MAX_LETTERS = 1000
BURST = 10
PER_SECOND = 1.0
#: With the back-off between them these are five minutes and more.
MAX_TRIES = 10


class Letter(Protocol):
    """One thing to tell the API server."""

    @property
    def subject(self) -> str:
        """What it is about, for the log."""
        ...

    def send(self, server: ApiServer) -> None:
        """Tell it; may take several requests. Raises ApiError."""
        ...


@dataclass
class _Entry:
    letter: Letter
    tries: int = 0


class Postbag:
    """Letters that wait, and when the next may go. Times are seconds of a monotonic clock.

    After take(), what became of the letter is said before the next take().
    """

    def __init__(self, most: int = MAX_LETTERS, burst: float = BURST, rate: float = PER_SECOND):
        self.dropped = self.sent = self.failed = 0
        self._waiting: deque[_Entry] = deque()
        self._taken: _Entry | None = None
        self._most, self._burst, self._rate = most, burst, rate
        self._tokens, self._counted = burst, 0.0
        self._backoff = Backoff(first=1.0, most=60.0, jitter=0.5)

    @property
    def empty(self) -> bool:
        """Whether no letter waits, and none is on its way."""
        return not self._waiting and self._taken is None

    def put(self, letter: Letter) -> None:
        """One more; the oldest goes where there are too many."""
        self._waiting.append(_Entry(letter))
        if len(self._waiting) > self._most:
            self._waiting.popleft()
            self.dropped += 1

    def wait(self, now: float) -> float | None:
        """Seconds until a letter may go: 0 for at once, None while there is none."""
        if not self._waiting:
            return None
        self._tokens = min(self._burst, self._tokens + (now - self._counted) * self._rate)
        self._counted = now
        for_token = 0.0 if self._tokens >= 1 else (1 - self._tokens) / self._rate
        return max(0.0, for_token, self._backoff.until - now)

    def take(self) -> Letter:
        """The first letter, to be sent now, for one token."""
        self._tokens -= 1
        self._taken = self._waiting.popleft()
        return self._taken.letter

    def delivered(self) -> None:
        """The letter that was taken has arrived."""
        self._taken = None
        self.sent += 1
        self._backoff.succeeded()

    def refused(self) -> None:
        """The letter that was taken will never arrive; the next one may."""
        self._taken = None
        self.failed += 1
        self._backoff.succeeded()

    def returned(self, now: float, *, tried: bool) -> bool:
        """The letter that was taken goes behind all others, and nothing goes for a while.

        tried: whether it may be the letter's own fault; one that was tried MAX_TRIES times fails.
        Answers whether it waits again.
        """
        entry, self._taken = self._taken, None
        self._backoff.failed(now)
        if entry is None:
            return False
        entry.tries += tried
        if entry.tries >= MAX_TRIES:
            self.failed += 1
        elif len(self._waiting) >= self._most:  # others came meanwhile
            self.dropped += 1
        else:
            self._waiting.append(entry)
            return True
        return False


class Outbox:
    """A thread that sends what is put into it. Close it, or it ends with the process.

    counted: called by the thread when sent, failed or dropped has changed; never after close().
    """

    def __init__(
        self,
        server: ApiServer,
        name: str,
        postbag: Postbag | None = None,
        clock: Callable[[], float] = time.monotonic,
        counted: Callable[[], object] = lambda: None,
    ) -> None:
        self.postbag = postbag or Postbag()
        self._server = server
        self._name = name
        self._clock = clock
        self._counted = counted
        self._closed = False
        self._told: set[str] = set()
        self._something = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"outbox-{name}", daemon=True)
        self._thread.start()

    def put(self, letter: Letter) -> None:
        """Send a letter some time soon; returns at once."""
        with self._something:
            self.postbag.put(letter)
            self._something.notify()

    @property
    def idle(self) -> bool:
        """Whether nothing waits, and nothing is on its way."""
        with self._something:
            return self.postbag.empty

    def close(self) -> None:
        """Send no more; a request that is under way is not waited for."""
        with self._something:
            self._closed = True
            self._something.notify()
        self._thread.join(0.5)

    def _run(self) -> None:
        while (letter := self._next()) is not None:
            self._send(letter)

    def _next(self) -> Letter | None:
        """Wait for a letter that may go; None when closed."""
        with self._something:
            while not self._closed:
                wait = self.postbag.wait(self._clock())
                if wait == 0:
                    return self.postbag.take()
                self._something.wait(wait)
            return None

    def _send(self, letter: Letter) -> None:
        outcome = self._attempt(letter)
        with self._something:
            outcome()
            if not self._closed:
                self._counted()

    def _attempt(self, letter: Letter) -> Callable[[], None]:
        """Send it; what the bookkeeping is to be told of it."""
        try:
            letter.send(self._server)
        except ApiError as error:
            if error.passes or error.status == 409:  # letters ask anew what there is
                return partial(self._return, letter, error)
            self._complain(letter, error, "going on without")
            return self.postbag.refused
        except Exception:  # the thread must live
            log.exception("%s: %s", self._name, letter.subject)
            return self.postbag.refused
        self._told.clear()
        return self.postbag.delivered

    def _return(self, letter: Letter, error: ApiError) -> None:
        """Later again; a server that is away, or has too much to do, says nothing of a letter."""
        tried = error.status not in {0, 401, 429}
        if self.postbag.returned(self._clock(), tried=tried):
            self._complain(letter, error, "trying again")
        else:
            self._complain(letter, error, "given up")

    def _complain(self, letter: Letter, error: ApiError, then: str) -> None:
        """Say what is wrong once, until something arrives again."""
        kind = f"{error.status} {then}"
        if kind not in self._told:
            self._told.add(kind)
            log.warning(
                "%s: %s: %s; %s",
                self._name,
                letter.subject,
                error,
                then,
                extra={"object": letter.subject},
            )
