"""A side of the oracle's judgement, as the answer has it. Pure."""

from __future__ import annotations

from podwire_node.explain.answer import DecisionAnswer, SideAnswer
from podwire_policy.oracle import Decision, Judge, Judgement, Side, misses
from podwire_policy.reasons import Kind


def side_answer(judge: Judge, judgement: Judgement, side: Side) -> SideAnswer:
    """Everything that a person may want to know of it."""
    return SideAnswer(
        allowed=side.allowed,
        reason=side.reason,
        kind=side.denial or "",
        isolated_by=tuple(map(str, side.isolated_by)),
        allowed_by=tuple(map(str, side.allowed_by)),
        decision=_said(side.decision) if side.decision else None,
        passed=tuple(map(_said, side.passed)),
        nearest_miss=_nearest(judge, judgement, side),
    )


def _nearest(judge: Judge, judgement: Judgement, side: Side) -> str:
    """The rule that came closest; where a rule denies, there is none to come close to."""
    return "" if side.denial is Kind.DENIED else misses(judge, judgement, side.direction)


def _said(decision: Decision) -> DecisionAnswer:
    return DecisionAnswer(decision.tier, str(decision), decision.action)
