"""What people ask this agent: the control socket, its verbs, and what they look at.

`podwire observe` ─► control socket ─► verb ─► ring ◄─ drops ◄─ kernel's log
`podwire explain`                       └────► view ◄─ the loop's objects
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, cast

from podwire_node.intake import Intake
from podwire_node.parts import Part
from podwire_node.programmer import Programmer
from podwire_node.settings.agent_config import AgentConfig

if TYPE_CHECKING:
    from podwire_node.control.view import View
    from podwire_node.observe.drops import Drops
    from podwire_node.observe.ring import Ring
    from podwire_policy.policies import Policies

log = logging.getLogger(__name__)


class Questions:
    """Nothing where policies are not this agent's: all that can be asked is about them.

    What cannot be heard or served is a problem, and no reason to end. The stack closes it all.
    """

    def __init__(
        self, config: AgentConfig, intake: Intake, parts: Sequence[Part], stack: ExitStack
    ) -> None:
        self._unserved = ""
        self._drops: Drops | None = None
        self._watched: list[tuple[int, Callable[[], object]]] = []
        policy = next((part.work for part in parts if part.work.name == "policy"), None)
        if isinstance(policy, Programmer):
            self._begin(config, intake, policy, parts, stack)

    @property
    def problems(self) -> Sequence[str]:
        """What cannot be heard or answered, and why."""
        unheard = self._drops.problem if self._drops else ""
        return [each for each in (unheard, self._unserved) if each]

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """What wakes the loop, and what to call then."""
        return self._watched

    def _begin(
        self,
        config: AgentConfig,
        intake: Intake,
        policy: Programmer,
        parts: Sequence[Part],
        stack: ExitStack,
    ) -> None:
        from podwire_node.control.errands import Errands  # noqa: PLC0415 - a proxy alone needs none of it
        from podwire_node.control.view import View  # noqa: PLC0415 - same
        from podwire_node.observe.drops import Drops  # noqa: PLC0415 - same
        from podwire_node.observe.ring import Ring  # noqa: PLC0415 - same

        errands, ring = Errands(), Ring()
        self._watched += errands.watched()
        view = View(config.node, intake, cast("Policies", policy.desired), errands)
        metrics = next((part.metrics for part in parts if part.metrics), None)
        self._drops = Drops(view, ring, metrics)
        stack.callback(self._drops.close)
        if config.control_socket:
            self._serve(Path(config.control_socket), view, ring, stack)
        stack.callback(errands.close)  # first of all: nobody answers once the loop has ended

    def _serve(self, path: Path, view: View, ring: Ring, stack: ExitStack) -> None:
        from podwire_node.cni.calls.listener import SocketUnusable  # noqa: PLC0415 - see _begin
        from podwire_node.control.server import Control, Verb  # noqa: PLC0415 - same
        from podwire_node.explain.explainer import explain_verb  # noqa: PLC0415 - same
        from podwire_node.observe.verb import observe_verb  # noqa: PLC0415 - same
        from podwire_node.policy_audit.auditor import audit_verb  # noqa: PLC0415 - same

        verbs: dict[str, Verb] = {
            "observe": observe_verb(ring),
            "explain": explain_verb(view),
            "audit": audit_verb(view),
        }
        try:
            control = Control(path, verbs)
        except (SocketUnusable, OSError) as error:
            self._unserved = f"control: nobody can ask this agent: {error}"
            log.warning("%s", self._unserved, extra={"component": "control"})
            return
        stack.callback(control.close)
