"""The plugin in the agent's own process: podwire_cni, called by the server's threads.

A process a call would cost the start of an interpreter, a hundred times what the kernel needs.
Threads can do it because setns() moves one thread alone, and because nothing of podwire_cni
keeps anything between two calls.

The client decides nothing that the plugin believes: it sends the specification's variables and
its configuration, whose stateDir counts for nothing here. Everything else is the agent's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from podwire_cni import plugin
from podwire_cni.host import Host
from podwire_node.cni.calls.readiness import Readiness
from podwire_node.cni.calls.refusal import UNAVAILABLE, Refusal, error_code
from podwire_node.cni.calls.wire import Answer, Request

#: Performs a call. The descriptor is the pod's namespace, if there is one, and stays the
#: caller's; the deadline is by time.monotonic(). Raises Refusal.
Plugin: TypeAlias = Callable[[Request, int | None, float], Answer]


class AgentPlugin:
    """A Plugin. Thread-safe; calls work in the network namespace of their thread.

    host: what the plugin asks of where it runs.  readiness: what STATUS tells of the agent.
    """

    def __init__(self, host: Host, readiness: Readiness | None = None) -> None:
        self._host = host
        self._readiness = readiness or Readiness()
        # 100 ms and more, which the first ADD and the first CHECK should not wait for.
        from podwire_cni import answers, verbs  # noqa: F401, PLC0415 - only who serves pays

    def __call__(self, request: Request, netns: int | None, deadline: float) -> Answer:
        """See Plugin."""
        outcome = plugin.run(request.environ, request.stdin, self._host, netns, deadline)
        answer = Answer(outcome.exit_code, outcome.stdout.encode())
        verdict = self._readiness.verdict if request.command == "STATUS" else None
        # 51 is the worse news of the two, and told where 50 would be true as well.
        if verdict is not None and error_code(answer) in {0, UNAVAILABLE}:
            raise Refusal(*verdict)
        return answer
