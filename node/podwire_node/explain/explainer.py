"""The agent's side of `podwire explain`: a question to an answer.

    words ─► Question ─► Flows ─► each: the oracle's judgement, the kernel's ─► Explanation

The oracle judges both ends wherever they run; this node's kernel knows the policies of its own
pods alone. So the two are compared by the sides that are judged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import msgspec

from podwire_core.errors import NftError
from podwire_core.family import family_of
from podwire_core.nft.lookup import Lookup
from podwire_core.nft.objects import Key, Object
from podwire_core.nft.packet import Packet
from podwire_core.objects import Attached, Node, ObjectName, Protocol
from podwire_node.control.errors import ControlError
from podwire_node.control.request import Request
from podwire_node.control.server import Verb
from podwire_node.control.view import Moment, View
from podwire_node.explain.answer import (
    EndAnswer,
    Explanation,
    FlowAnswer,
    KernelAnswer,
    Verdict,
    verdict_of,
)
from podwire_node.explain.flows import Flow, flows_of
from podwire_node.explain.in_force import InForce, kernel_answer, unreadable
from podwire_node.explain.question import MAX_WORDS, QuestionError, parse
from podwire_node.explain.sides import side_answer
from podwire_policy.oracle import Judgement

#: How often it is looked at most, where text and kernel differ.
LOOKS = 5


def explain_verb(view: View) -> Verb:
    """Answers `explain`: fields source, destination, protocol, words as a person writes them."""

    def explain(request: Request) -> Iterator[Mapping[str, object]]:
        words = [_words(request, field) for field in ("source", "destination", "protocol")]
        answer = _explained(view, *words)
        document: dict[str, object] = msgspec.to_builtins(answer)
        yield document

    return explain


def _words(request: Request, field: str) -> str:
    value = request.fields.get(field, "")
    if not isinstance(value, str) or len(value) > MAX_WORDS:
        raise ControlError(f"{field}: is no text of at most {MAX_WORDS} characters")
    return value


def _explained(view: View, source: str, destination: str, protocol: str) -> Explanation:
    """The answer for one moment.

    Where the two differ it is looked again: then the loop has had a turn, in which it mends what
    someone else changed, and once more where objects have changed meanwhile.
    """
    for look in range(LOOKS):
        moment = view.now()
        try:
            with closing(Lookup()) as lookup:
                found = _Explainer(view, moment, lookup).explain(source, destination, protocol)
        except (QuestionError, NftError) as error:
            raise ControlError(str(error)) from error
        same = look > 0 and view.now() is moment
        if found.verdict is not Verdict.DIFFERS or same:
            break
    return found


class _Leg(NamedTuple):
    """A connection's packet as it passes this node, and the sides that are judged here."""

    source: str
    destination: str
    port: int
    judges: tuple[str, ...]


class _Explainer:
    """Explains with the objects of one moment."""

    def __init__(self, view: View, moment: Moment, lookup: Lookup) -> None:
        self._view = view
        self._snapshot = moment.snapshot
        self._judge = moment.judge
        self._known: dict[Key, Object | None] = {}
        mine = self._snapshot.get(Node, ObjectName("", view.node))
        self._local = mine.addresses if mine else ()
        self._ranges = tuple(ip_network(cidr) for cidr in (mine.pod_cidrs if mine else ()))
        self._tables = InForce(view.policies.tables, self._wanted, lookup, self._local)

    def explain(self, source: str, destination: str, protocol: str) -> Explanation:
        """Raises QuestionError."""
        question = parse(source, destination, protocol)
        found = flows_of(self._snapshot, self._judge.owner, question, self._view.node)
        flows = tuple(map(self._flow, found.flows))
        verdict = verdict_of(flows)
        return Explanation(self._view.node, source, destination, verdict, flows, found.notes)

    def _flow(self, flow: Flow) -> FlowAnswer:
        sent, received = self._judgements(flow)
        leg = self._leg(flow)
        sides = {"egress": sent.egress, "ingress": received.ingress}
        kernel = self._kernel(leg, flow.protocol)
        expected = all(sides[side].allowed for side in leg.judges)
        return FlowAnswer(
            source=self._end(flow.source),
            destination=self._end(flow.destination),
            port=flow.port,
            protocol=flow.protocol,
            allowed=sent.egress.allowed and received.ingress.allowed,
            egress=side_answer(self._judge, sent, sent.egress),
            ingress=side_answer(self._judge, received, received.ingress),
            kernel=kernel,
            differs=bool(kernel.wrong) or kernel.allowed != expected,
            dialled=flow.dialled,
            seen_as=flow.seen_as,
        )

    def _judgements(self, flow: Flow) -> tuple[Judgement, Judgement]:
        """As the source's node sees it, and the destination's: mostly the same."""
        received = self._judge.judge(
            flow.seen_as or flow.source, flow.destination, flow.protocol, flow.port
        )
        address, port = flow.through
        if address:
            return self._judge.judge(flow.source, address, flow.protocol, port), received
        if not flow.seen_as:
            return received, received
        sent = self._judge.judge(flow.source, flow.destination, flow.protocol, flow.port)
        return sent, received

    def _leg(self, flow: Flow) -> _Leg:
        """The part of the way that is this node's to judge."""
        sent, received = self._is_ours(flow.source), self._is_ours(flow.destination)
        if not (flow.through[0] or flow.seen_as):
            sides = (("egress", sent), ("ingress", received))
            judges = tuple(side for side, ours in sides if ours)
            return _Leg(flow.source, flow.destination, flow.port, judges)
        if received or not sent:
            judges = ("ingress",) if received else ()
            return _Leg(flow.seen_as or flow.source, flow.destination, flow.port, judges)
        address, port = flow.through if flow.through[0] else (flow.destination, flow.port)
        return _Leg(flow.source, address, port, ("egress",))

    def _kernel(self, leg: _Leg, protocol: Protocol) -> KernelAnswer:
        packet = Packet(
            family_of(leg.source),
            leg.source,
            leg.destination,
            protocol.nft,
            leg.port,
            from_node=leg.source in self._local,
        )
        try:
            return kernel_answer(self._view.node, leg.judges, self._tables.walk(packet))
        except NftError as error:
            return unreadable(self._view.node, leg.judges, error)

    def _wanted(self, key: Key) -> Object | None:
        """What the policy part wants under a key, asked of the loop once."""
        if key not in self._known:
            self._known[key] = self._view.in_loop(lambda: self._view.policies.wanted.get(key))
        return self._known[key]

    def _is_ours(self, address: str) -> bool:
        """Whether our tables judge who has this address: a pod of ours, or nobody in our range."""
        pod = self._judge.owner(address)
        if pod is not None:
            return pod.spec.node_name == self._view.node
        attached = (each.addresses for each in self._snapshot.all(Attached))
        ranged = any(ip_address(address) in cidr for cidr in self._ranges)
        return ranged or any(address in addresses for addresses in attached)

    def _end(self, address: str) -> EndAnswer:
        pod = self._judge.owner(address)
        if pod is not None:
            return EndAnswer(address, str(pod.name), pod.spec.node_name)
        nodes = (node for node in self._snapshot.all(Node) if address in node.addresses)
        return EndAnswer(address, node=next((node.metadata.name for node in nodes), ""))
