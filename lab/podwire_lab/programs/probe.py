"""Who answers? Run in a pod's namespaces; asks many targets at once and says what each did.

    python -I -S probe.py --timeout 1.0 < targets.json > answers.json

targets: [["tcp", "10.96.0.20", 80], ["udp", "fd00::5", 53], …], at most 100,000. answers: one
[outcome, text] each, in order: "answered" with the first line, "refused" (at once: ICMP or
RST), "accepted" (TCP connected, and nothing more within the timeout), "silent" (nothing at all
within it), or "failed" with the system's reason.

Standard library only, few imports: it is started once per pod and table.
"""

from __future__ import annotations

import errno
import json
import selectors
import socket
import sys
import time
from collections import deque

AT_ONCE = 200
MAX_ANSWER = 65536
_REFUSED = {errno.ECONNREFUSED, errno.ECONNRESET}
_SILENT = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}


class _Attempt:
    """One target being asked."""

    def __init__(self, index: int, protocol: str, address: str, port: int) -> None:
        self.index = index
        self.protocol = protocol
        self.where = (address, port)
        self.deadline = 0.0
        self.asked = False
        self.received = b""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        self.socket = socket.socket(family, kind | socket.SOCK_NONBLOCK)

    def start(self) -> None:
        """Connect; UDP too, so that a refusal reaches the socket."""
        code = self.socket.connect_ex(self.where)
        if code not in {0, errno.EINPROGRESS}:
            raise OSError(code, errno.errorcode.get(code, str(code)))

    def step(self) -> str | None:
        """Go on as far as it goes; the answer's first line when it is there."""
        if not self.asked:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, errno.errorcode.get(code, str(code)))
            self.socket.send(b"GET / HTTP/1.0\r\n\r\n" if self.protocol == "tcp" else b"probe\n")
            self.asked = True
            return None
        data = self.socket.recv(MAX_ANSWER)
        self.received += data
        if self.protocol == "udp" or not data or len(self.received) >= MAX_ANSWER:
            return _first_line(self.received)
        return None


def _first_line(answer: bytes) -> str:
    """The line that names the pod: an HTTP answer's body, or the whole of a datagram."""
    body = answer.partition(b"\r\n\r\n")[2] or answer
    return body.decode(errors="replace").strip().partition("\n")[0]


def ask(targets: list[tuple[str, str, int]], timeout: float) -> list[tuple[str, str]]:
    """Ask all targets, AT_ONCE at a time; `timeout` seconds for each."""
    answers: list[tuple[str, str]] = [("silent", "")] * len(targets)
    waiting = deque(enumerate(targets))
    running: set[_Attempt] = set()
    with selectors.DefaultSelector() as selector:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                index, (protocol, address, port) = waiting.popleft()
                attempt = _Attempt(index, protocol, address, port)
                attempt.deadline = time.monotonic() + timeout
                running.add(attempt)
                selector.register(attempt.socket, selectors.EVENT_WRITE, attempt)
                _advance(attempt, answers, running, selector, first=True)
            _wait(selector, answers, running)
    return answers


def _wait(
    selector: selectors.BaseSelector, answers: list[tuple[str, str]], running: set[_Attempt]
) -> None:
    if not running:
        return
    now = time.monotonic()
    until = min(attempt.deadline for attempt in running)
    for key, _ in selector.select(max(0.0, until - now)):
        _advance(key.data, answers, running, selector)
    now = time.monotonic()
    for attempt in [each for each in running if each.deadline <= now]:
        if attempt.asked and attempt.protocol == "tcp":
            answers[attempt.index] = ("accepted", "")
        _end(attempt, running, selector)


def _advance(
    attempt: _Attempt,
    answers: list[tuple[str, str]],
    running: set[_Attempt],
    selector: selectors.BaseSelector,
    *,
    first: bool = False,
) -> None:
    try:
        if first:
            attempt.start()
            return
        line = attempt.step()
    except BlockingIOError:
        return
    except OSError as error:
        outcome = "refused" if error.errno in _REFUSED else "failed"
        outcome = "silent" if error.errno in _SILENT else outcome
        answers[attempt.index] = (outcome, error.strerror or "")
        _end(attempt, running, selector)
        return
    if line is not None:
        answers[attempt.index] = ("answered", line)
        _end(attempt, running, selector)
    elif attempt.asked:
        selector.modify(attempt.socket, selectors.EVENT_READ, attempt)


def _end(attempt: _Attempt, running: set[_Attempt], selector: selectors.BaseSelector) -> None:
    running.discard(attempt)
    selector.unregister(attempt.socket)
    attempt.socket.close()


def main() -> None:
    """See the module's docstring."""
    timeout = float(sys.argv[sys.argv.index("--timeout") + 1]) if "--timeout" in sys.argv else 1.0
    targets = [(str(p), str(a), int(n)) for p, a, n in json.load(sys.stdin)][:100_000]
    json.dump(ask(targets, timeout), sys.stdout)


if __name__ == "__main__":
    main()
