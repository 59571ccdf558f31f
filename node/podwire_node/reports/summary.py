"""The agent's status, read from what it consists of."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from podwire_core.errors import ObjectError
from podwire_core.objects import Node, ObjectName
from podwire_node.cni.pod_network import PodNetwork
from podwire_node.intake import Intake
from podwire_node.parts import Part
from podwire_node.programmer import Programmer
from podwire_node.questions import Questions
from podwire_node.reports.logs import one_line
from podwire_node.reports.own_node import missing
from podwire_node.reports.status import Status
from podwire_node.settings.agent_config import AgentConfig

MAX_PROBLEMS = 100


@dataclass(frozen=True)
class Summary:
    """Asked anew each time: it keeps nothing."""

    config: AgentConfig
    intake: Intake
    parts: Sequence[Part]
    pods: PodNetwork
    questions: Questions

    @property
    def mine(self) -> Node | None:
        """Our own Node."""
        return self.intake.snapshot.get(Node, ObjectName("", self.config.node))

    @property
    def nodes_are_read(self) -> bool:
        """Whether a Node that is not known is not there."""
        return self.intake.synced and Node not in self.intake.unread

    @property
    def first_sync_done(self) -> bool:
        """Whether everything there is was read, and is in the kernel."""
        settled = all(part.begun and part.work.settled for part in self.parts)
        return self.intake.synced and not self.intake.unread and settled

    @property
    def wrong(self) -> list[ObjectError]:
        """Objects that are not, or not wholly, in force."""
        return [*self.intake.unusable, *(row for part in self.parts for row in part.work.unusable)]

    def status(self, ready_seconds: float | None, letters: Mapping[str, int]) -> Status:
        """See Status; letters as Reporter counts them."""
        mine = self.mine
        tables = [part.work for part in self.parts if isinstance(part.work, Programmer)]
        in_sync = self.first_sync_done and all(part.work.in_sync for part in self.parts)
        backend, why = next((each.backend() for each in self.parts if each.backend), ("", ""))
        return Status(
            node=self.config.node,
            pid=os.getpid(),
            ready=ready_seconds is not None,
            ready_seconds=ready_seconds,
            objects=len(self.intake.snapshot),
            routes=self.pods.routes,
            transactions={each.name: each.transactions for each in tables},
            repairs={each.name: each.repairs for each in tables},
            failures={each.name: each.failures for each in tables},
            in_sync=in_sync and not self.intake.away,
            waiting=tuple(self._waiting(mine)),
            components=tuple(self.config.components),
            pod_cidrs=mine.pod_cidrs if mine else (),
            mtu=self.pods.mtu,
            proxy_backend=backend,
            proxy_fallback=why,
            letters=dict(letters),
            problems=tuple(map(one_line, self._problems(mine)[:MAX_PROBLEMS])),
        )

    def _waiting(self, mine: Node | None) -> list[str]:
        """What is waited for, in the order in which it is needed."""
        if not self.intake.synced:
            return list(self.intake.reading)
        unread = sorted((kind.__name__, why) for kind, why in self.intake.unread.items())
        found = [f"{kind}: {why}" for kind, why in unread]
        found += [
            f"{part.work.name}: {'its first sync' if part.begun else 'objects it may not read'}"
            for part in self.parts
            if not (part.begun and part.work.settled)
        ]
        return found + self.pods.waiting(mine)

    def _problems(self, mine: Node | None) -> list[str]:
        problems = [str(error) for error in self.wrong]
        problems += [problem for part in self.parts for problem in part.work.problems]
        problems += self.pods.problems
        problems += self.questions.problems
        if self.nodes_are_read and mine is None:
            problems += filter(None, [missing(self.config)])
        if self.intake.problem:
            problems.append(self.intake.problem)
        return list(dict.fromkeys(problems))  # routes and masquerade both judge podCIDRs
