"""The part that answers Services at sockets, and says how that stands.

    opening ─► plane ─► fill ─► attach ─► proof ─► once a minute
       │                 ▲ │        ▲        │
       │ Unsupported     │ └ refused: what changed is left to nftables, back-off
       ▼                 │          └─ not attached any more: attached again
    mode auto: nftables alone      Services, and the node's addresses, change
    mode ebpf: the agent ends                    └─ pins are gone: opened anew

* It comes behind the proxy's own part: what nftables serves is there first. What goes, goes at
  once, also while nftables refuses everything.
* Until it is attached and proven, and whatever fails here, nftables serves.
* A plane of an earlier run serves until this one has filled its maps.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from podwire_core.backoff import Backoff
from podwire_core.errors import ObjectError
from podwire_core.snapshot import Change, Snapshot
from podwire_ebpf.errors import BpfError, Busy, Unsupported
from podwire_ebpf.plane import Plane
from podwire_ebpf.proof import Proof
from podwire_ebpf.records import FrontendKey
from podwire_node.control.errors import ControlError
from podwire_node.metrics import Metrics
from podwire_node.observe.sockets import Hear
from podwire_node.settings.agent_config import AgentConfig
from podwire_node.settings.proxy_options import proxy_options
from podwire_node.sockets.earlier import remove_earlier, remove_elsewhere
from podwire_node.sockets.filling import Filling
from podwire_node.sockets.observing import Observing
from podwire_node.sockets.opening import Opened, Opening, Outcome, opener
from podwire_node.sockets.outside import Outside
from podwire_node.sockets.own_addresses import OwnAddresses
from podwire_node.sockets.place import place_of
from podwire_node.sockets.prover import Prover
from podwire_node.sockets.standing import Standing
from podwire_node.stale.socket_plan import translated
from podwire_node.stale.sockets import StaleSockets
from podwire_proxy.services import Services
from podwire_proxy.sockets import Sockets
from podwire_proxy.sockets.wishes import key_of

log = logging.getLogger(__name__)

_EXTRA = {"component": "sockets"}
#: A compile takes a second of a core: a kernel that refuses is not asked all the time.
_FIRST_S, _MOST_S = 1.0, 300.0


class SocketService:
    """Implements podwire_node.parts.Work. Made in the agent's network namespace; close it.

    It begins when the proxy's own part does, and is told of objects behind it.
    """

    name = "sockets"

    def __init__(
        self,
        config: AgentConfig,
        services: Services,
        sockets: Sockets,
        metrics: Metrics,
        open_both: Callable[[], Outcome] | None = None,
    ) -> None:
        self.place = place_of(config)
        self._standing = Standing(metrics)
        self._told = self._served = self._gave_up = False
        self._config, self._services, self._metrics = config, services, metrics
        self._sockets = sockets
        self._plane: Plane | None = None
        self._filling: Filling | None = None
        self._observing = Observing(localhost=proxy_options(config).localhost_nodeports)
        self._outside = Outside(wanted=config.ebpf_external)
        self._stale: StaleSockets | None = None
        self._submitted = -1
        self._addresses = OwnAddresses()
        self._own: frozenset[str] = frozenset()
        self._networks: tuple[str, ...] | None = None  # where the addresses of _own are from
        self._backoff = Backoff(_FIRST_S, _MOST_S)
        self._prover = Prover(self._prove)
        self._opening = Opening(open_both or opener(self.place, external=config.ebpf_external))
        self._opening.begin()

    # ------------------------------------------------------------------ how it stands

    @property
    def backend(self) -> str:
        """See Standing. Any thread may ask."""
        return self._standing.backend

    @property
    def why(self) -> str:
        """Why it is nftables, in one sentence."""
        return self._standing.why

    @property
    def settled(self) -> bool:
        """See Work."""
        return self._standing.settled

    @property
    def in_sync(self) -> bool:
        """See Work: of a mode auto that gave up, there is nothing to do."""
        if self._gave_up:
            return True
        full = self._filling is not None and not self._filling.is_due(self._own)
        return self._standing.attached and full and not self._standing.problem

    @property
    def problems(self) -> Sequence[str]:
        """See Work."""
        more = self._outside.problems
        crowded = self._sockets.crowded
        full = f"sockets: the maps have no room for {crowded} frontends: nftables serves them"
        return [each for each in (self._standing.problem, full if crowded else "", *more) if each]

    @property
    def unusable(self) -> Sequence[ObjectError]:
        """A proof that failed is told as an event on our Node: packets go on, unseen."""
        doubt = self._standing.doubt
        return (ObjectError("", f"Node {self._config.node}", "", doubt),) if doubt else ()

    @property
    def left(self) -> Mapping[FrontendKey, str]:
        """What nftables serves alone, and why."""
        found = ((key_of(frontend), why) for frontend, why in self._sockets.left.items())
        return {key: why for key, why in found if key is not None}

    @property
    def labels(self) -> Mapping[FrontendKey, str]:
        """`namespace/name:port` of what can be dialled."""
        return self._sockets.labels

    @property
    def node_cookie(self) -> int:
        """Of the node's own network namespace; 0 while that is not known."""
        return self._observing.node

    # ------------------------------------------------------------------- what it hears

    def watched(self) -> Iterable[tuple[int, Callable[[], object]]]:
        """See Work."""
        yield self._opening.fileno(), self._opened
        yield self._prover.fileno(), self._proven
        yield self._addresses.fileno(), self._moved
        yield from self._outside.watched()

    def take(self, _snapshot: Snapshot, _changes: Sequence[Change]) -> None:
        """See Work: what it is to do the proxy tells Sockets."""
        self._told = True

    def _moved(self) -> None:
        """An address of the node came or went."""
        self._addresses.hear()
        self._networks = None

    def _opened(self) -> None:
        """The thread has opened the plane, or could not. Raises Unsupported in mode ebpf.

        What was there once may come again: without it no agent that served ends, or gives up.
        """
        outcome = self._opening.outcome()
        if isinstance(outcome, Opened):
            self._begin(outcome)
        elif outcome is not None:
            self._stay_with_nftables(outcome)
            if not isinstance(outcome, Unsupported) or self._served:
                self._fail(time.monotonic(), outcome)
            elif self._config.proxy_mode == "ebpf":
                raise outcome
            else:
                self._gave_up = True
                log.warning("nftables alone answers for Services: %s", outcome, extra=_EXTRA)

    def _stay_with_nftables(self, error: BpfError) -> None:
        """What an earlier run left would be kept up to date by nobody."""
        self._standing.detached(str(error))
        if not isinstance(error, Busy) and (kept := remove_earlier(self.place)):
            log.warning("%s", kept, extra=_EXTRA)

    def _begin(self, opened: Opened) -> None:
        plane = self._plane = opened.plane
        self._backoff.succeeded()
        self._standing.opened()
        reach = replace(self._sockets.reach, refuses=plane.features.set_retval)
        self._sockets.set_reach(replace(reach, external=opened.external is not None))
        self._filling = Filling(plane, self._sockets)
        self._observing.begin(plane)
        self._outside.begin(opened)
        config = self._config
        if config.stale_sockets != "none":
            self._submitted = -1
            self._stale = StaleSockets(
                partial(translated, plane.tables, tcp=config.stale_sockets == "all"),
                lambda run: self._metrics.stale_sockets(run.destroyed),
            )

    # -------------------------------------------------------------------- what it does

    def sync(self, now: float) -> float | None:
        """See Work."""
        if self._gave_up or not self._told:
            return None
        if self._plane is None:
            return self._open_again(now)
        if not self._backoff.due(now):
            self._retreat()
            return self._backoff.until
        try:
            self._keep(self._plane)
        except BpfError as error:
            self._fail(now, error)
            return self._backoff.until
        self._backoff.succeeded()
        self._standing.problem = ""
        self._follow()
        return None

    def _retreat(self) -> None:
        """What goes, goes at once."""
        own = self._own
        with suppress(BpfError):
            own = self._own_addresses()
        if self._filling is not None:
            self._filling.retreat(own)

    def _open_again(self, now: float) -> float | None:
        if self._opening.runs:
            return None
        if not self._backoff.due(now):
            return self._backoff.until
        self._opening.begin()
        return None

    def _keep(self, plane: Plane) -> None:
        """Fill the maps, and attach what reads them. Raises BpfError."""
        assert self._filling is not None, "made with the plane"  # noqa: S101 - for the type checker
        own = self._own_addresses()
        if self._filling.is_due(own):
            change = self._filling.fill(own)
            if change:
                log.debug("sockets: %d frontends, %d rows", len(change.frontends), change.size)
                self._metrics.sockets(len(self._sockets.rows), self._sockets.left_count)
        if not self._standing.attached:
            self._attach(plane)
        self._outside.keep(self._services.node_addresses, self._services.pod_networks)

    def _attach(self, plane: Plane) -> None:
        """The maps are full: now someone may read them."""
        self._observing.tell()
        self._remove_elsewhere()
        plane.attach()
        self._served = True
        self._standing.attaches()
        self._prover.ask()
        log.info(
            "sockets of %s are answered by eBPF: %d frontends, and %d left to nftables",
            plane.place.cgroup,
            len(self._sockets.rows),
            self._sockets.left_count,
            extra=_EXTRA,
        )

    def _remove_elsewhere(self) -> None:
        """What another folder's links attach would be served twice, or by nobody's maps."""
        try:
            remove_elsewhere(self.place)
        except BpfError as error:
            log.warning("an earlier agent's programs stay attached: %s", error, extra=_EXTRA)

    def _own_addresses(self) -> frozenset[str]:
        """Read anew when one came or went, or NodePorts answer elsewhere."""
        networks = self._services.nodeport_networks
        if networks != self._networks:
            try:
                self._own = self._addresses.within(networks)
            except OSError as error:
                raise BpfError(f"the node's addresses: {error.strerror}") from error
            self._networks = networks
        return self._own

    def _follow(self) -> None:
        """Sockets whose endpoint went end, now that a new one can be dialled."""
        changes = self._services.serving_changes
        if self._stale is not None and self._submitted != changes:
            self._submitted = changes
            self._stale.submit(dict(self._services.serving))

    def _fail(self, now: float, error: BpfError) -> None:
        self._backoff.failed(now)
        self._standing.fails(error)

    # -------------------------------------------------------------------------- proof

    def _prove(self) -> Proof:
        """In the prover's thread, which is asked only once there is a plane."""
        if self._plane is None:
            raise BpfError("the programs are not open")
        return self._plane.prove()

    def _proven(self) -> None:
        """A look is over. What is not attached is attached again, once a look."""
        found, plane, standing = self._prover.hear(), self._plane, self._standing
        if found is None or plane is None or not standing.attached:
            return
        doubted = bool(standing.doubt)
        standing.judge(found)
        if isinstance(found, Proof) and found.node_cookie:
            self._observing.node = found.node_cookie
            self._repair(self._observing.tell)
        self._outside.look_again()
        if standing.doubt and not plane.pinned:
            self._begin_anew(plane)
        elif standing.doubt and self._repair(plane.attach) and not doubted:
            self._prover.ask()  # where it does not help, the next look is in a minute

    def _repair(self, step: Callable[[], None]) -> bool:
        """Whether that went well."""
        try:
            step()
        except BpfError as error:
            self._fail(time.monotonic(), error)
            return False
        return True

    def _begin_anew(self, plane: Plane) -> None:
        """Someone took the pins away, with what they attached: the next agent finds no maps."""
        gone = BpfError(f"what was pinned in {self.place.folder} is gone")
        self._fail(time.monotonic(), gone)
        self._standing.detached(str(gone))
        if self._stale is not None:
            self._stale.close()
        self._observing.end()
        self._outside.end()
        self._plane = self._filling = self._stale = None
        plane.close()

    # ---------------------------------------------------------------------- observing

    def observe(self, hear: Hear) -> None:
        """See podwire_node.observe.sockets."""
        if self._plane is None:
            raise ControlError(f"no programs at sockets: {self.why}")
        self._observing.observe(hear)

    def unobserve(self) -> None:
        """Nobody listens any more."""
        self._observing.unobserve()

    def reached(self) -> int | None:
        """See Observing. Any thread may ask."""
        return self._observing.reached()

    def close(self) -> None:
        """Look no more; what is attached goes on serving, as nftables does."""
        self._prover.close()
        self._opening.close()
        if self._stale is not None:
            self._stale.close()
        self._outside.close()
        self._addresses.close()
        if self._plane is not None:
            self._plane.close()
