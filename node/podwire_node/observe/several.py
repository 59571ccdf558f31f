"""Drops that several agents tell of, as one: a packet is dropped on one node, which may be any.

the past     merged by time, the last so many of all
what comes   as it comes; each agent has a thread that listens to it
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue

from podwire_node.control.client import AgentClient
from podwire_node.control.errors import ControlError

Answer = Mapping[str, object]


def told(agents: Sequence[AgentClient], fields: Mapping[str, object]) -> Iterator[Answer]:
    """What they answer to `observe`. Raises ControlError when one of them cannot."""
    follow, last = bool(fields["follow"]), int(str(fields["last"]))
    if len(agents) == 1:
        return agents[0].ask("observe", fields, stream=follow)
    return _followed(agents, fields, last) if follow else iter(_past(agents, fields, last))


def _past(agents: Sequence[AgentClient], fields: Mapping[str, object], last: int) -> list[Answer]:
    asked = {**fields, "follow": False}
    found = [answer for agent in agents for answer in agent.ask("observe", asked)]
    found.sort(key=lambda answer: str(answer.get("time")))
    return list(found[len(found) - min(last, len(found)) :])


def _followed(
    agents: Sequence[AgentClient], fields: Mapping[str, object], last: int
) -> Iterator[Answer]:
    yield from _past(agents, fields, last) if last else ()
    heard: SimpleQueue[Answer | ControlError] = SimpleQueue()

    def listen(agent: AgentClient) -> None:
        try:
            for answer in agent.ask("observe", {**fields, "last": 0}, stream=True):
                heard.put(answer)
        except ControlError as error:
            heard.put(error)

    for agent in agents:
        threading.Thread(target=listen, args=(agent,), daemon=True).start()
    while True:
        answer = heard.get()
        if isinstance(answer, ControlError):
            raise answer
        yield answer
