"""What people ask this agent: the control socket, its verbs, and what they look at.

`podwire observe` ─► control socket ─► verb ─┬► ring ◄─ drops ◄─ kernel's log
`podwire explain`                            │    └◄─── translations ◄─ programs at sockets
`podwire dump`                               └► view ◄─ the loop's objects
`podwire doctor`
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
    from podwire_node.control.server import Verb
    from podwire_node.control.view import View
    from podwire_node.doctor.state import AgentState
    from podwire_node.metrics import Metrics
    from podwire_node.observe.drops import Drops
    from podwire_node.observe.ring import Ring
    from podwire_node.observe.sockets import Sockets
    from podwire_node.reports.status import Status
    from podwire_node.serving import Serving
    from podwire_policy.policies import Policies

log = logging.getLogger(__name__)

_NO_PROXY = "this agent has no component proxy, so it sees no translations"
_NO_PROGRAMS = (
    "this agent serves Services by nftables alone, so there are no translations: its proxyMode is "
    "nftables, and has to be ebpf or auto"
)


class Questions:
    """Nothing where neither policies nor programs at sockets are this agent's.

    What can be asked is about these, and two agents of a node may share its settings. What cannot
    be heard or served is a problem, and no reason to end. The stack closes it all.

    status: what the agent says of itself, for the loop to call; given before anybody can ask.
    """

    def __init__(
        self, config: AgentConfig, intake: Intake, parts: Sequence[Part], stack: ExitStack
    ) -> None:
        self.status: Callable[[], Status] | None = None
        self._config = config
        self._unserved = ""
        self._drops: Drops | None = None
        self._watched: list[tuple[int, Callable[[], object]]] = []
        policy = next((part.work for part in parts if part.work.name == "policy"), None)
        self._policy = policy if isinstance(policy, Programmer) else None
        proxy = next((part.work for part in parts if part.work.name == "proxy"), None)
        self._sockets: Sockets | None = cast("Serving", proxy).sockets if proxy else None
        if self._policy is not None or self._sockets is not None:
            metrics = next((part.metrics for part in parts if part.metrics), None)
            self._begin(intake, metrics, stack)

    @property
    def problems(self) -> Sequence[str]:
        """What cannot be heard or answered, and why."""
        unheard = self._drops.problem if self._drops else ""
        return [each for each in (unheard, self._unserved) if each]

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """What wakes the loop, and what to call then."""
        return self._watched

    def _begin(self, intake: Intake, metrics: Metrics | None, stack: ExitStack) -> None:
        from podwire_node.control.errands import Errands  # noqa: PLC0415 - most proxies alone need none of it
        from podwire_node.control.view import View  # noqa: PLC0415 - same

        errands = Errands()
        self._watched += errands.watched()
        policies = cast("Policies", self._policy.desired) if self._policy else None
        view = View(self._config.node, intake, policies, errands)
        drops = self._hear_drops(view, metrics, stack) if policies is not None else None
        if self._config.control_socket:
            self._serve(Path(self._config.control_socket), self._verbs(view, drops, stack), stack)
        stack.callback(errands.close)  # first of all: nobody answers once the loop has ended

    def _hear_drops(self, view: View, metrics: Metrics | None, stack: ExitStack) -> Ring:
        from podwire_node.observe.drops import Drops  # noqa: PLC0415 - see _begin
        from podwire_node.observe.ring import Ring  # noqa: PLC0415 - same

        ring = Ring()
        self._drops = Drops(view, ring, metrics)
        stack.callback(self._drops.close)
        return ring

    def _verbs(self, view: View, drops: Ring | None, stack: ExitStack) -> dict[str, Verb]:
        from podwire_node.doctor.state import state_verb  # noqa: PLC0415 - see _begin
        from podwire_node.dump.verb import names_verb  # noqa: PLC0415 - same
        from podwire_node.explain.explainer import explain_verb  # noqa: PLC0415 - same
        from podwire_node.observe.translations import Translations  # noqa: PLC0415 - same
        from podwire_node.observe.verb import observe_verb  # noqa: PLC0415 - same
        from podwire_node.policy_audit.auditor import audit_verb  # noqa: PLC0415 - same

        why = _NO_PROGRAMS if self._asked else _NO_PROXY
        translations = Translations(view, self._sockets, why)
        stack.callback(translations.close)
        return {
            "observe": observe_verb(drops, translations),
            "explain": explain_verb(view),
            "audit": audit_verb(view),
            "names": names_verb(view, self._sockets, self._asked),
            "state": state_verb(lambda: view.in_loop(self._state)),
        }

    def _serve(self, path: Path, verbs: dict[str, Verb], stack: ExitStack) -> None:
        from podwire_node.cni.calls.listener import SocketUnusable  # noqa: PLC0415 - see _begin
        from podwire_node.control.server import Control  # noqa: PLC0415 - same

        try:
            control = Control(path, verbs)
        except (SocketUnusable, OSError) as error:
            self._unserved = f"control: nobody can ask this agent: {error}"
            log.warning("%s", self._unserved, extra={"component": "control"})
            return
        stack.callback(control.close)

    @property
    def _asked(self) -> str:
        """The proxyMode, "" without component proxy."""
        from podwire_node.settings.values import Component  # noqa: PLC0415 - see _begin

        return self._config.proxy_mode if Component.PROXY in self._config.components else ""

    def _state(self) -> AgentState:
        """In the loop."""
        from podwire_node.control.errors import ControlError  # noqa: PLC0415 - see _begin
        from podwire_node.doctor.state import AgentState  # noqa: PLC0415 - same

        if self.status is None:
            raise ControlError("the agent has only begun: ask again later")
        if not (asked := self._asked):
            return AgentState(self.status())
        if self._sockets is None:
            return AgentState(self.status(), asked, "nftables")
        place = self._sockets.place
        return AgentState(
            self.status(),
            asked,
            self._sockets.backend,
            self._sockets.why,
            str(place.cgroup),
            str(place.folder),
        )
