"""An explanation as a person reads it: policies' text and kernel side by side, 80 columns wide.

Connections that are alike but for the endpoint are one table: a Service has many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from podwire_node.control.printable import printable
from podwire_node.explain.answer import (
    EndAnswer,
    Explanation,
    FlowAnswer,
    KernelAnswer,
    SideAnswer,
    StepAnswer,
    Verdict,
)

MAX_TABLES = 10
_NAMED = 3  # endpoints that are named of those that are alike
_STYLE = {
    Verdict.ALLOWED: "bold green",
    Verdict.DENIED: "bold red",
    Verdict.PARTLY: "bold yellow",
    Verdict.DIFFERS: "bold white on red",
}


def shown(found: Explanation) -> Iterator[RenderableType]:
    """What to print, in order."""
    found = printable(found)
    yield Text.assemble(
        (f"{found.source} → {found.destination}", "bold"),
        "  ",
        (found.verdict.upper(), _STYLE[found.verdict]),
    )
    groups = _groups(found.flows)
    for group in groups[:MAX_TABLES]:
        yield Text()
        yield _headline(group)
        yield _table(group[0])
        yield from _wrong(group[0])
    if len(groups) > MAX_TABLES:
        yield Text(f"and {len(groups) - MAX_TABLES} more, which --json has", "dim")
    if not found.judges and found.homes:
        yield Text(
            f"nobody of them is on {found.node}: ask on {' or '.join(found.homes)}", "yellow"
        )
    for note in found.notes:
        yield Text(f"note: {note}", "dim")


def _groups(flows: Sequence[FlowAnswer]) -> list[list[FlowAnswer]]:
    """Connections that are alike, those that need a look first."""
    found: dict[bytes, list[FlowAnswer]] = {}
    for flow in flows:
        found.setdefault(_shape(flow), []).append(flow)
    return sorted(found.values(), key=lambda group: (not group[0].differs, group[0].allowed))


def _shape(flow: FlowAnswer) -> bytes:
    """What is told of a flow, but for the names of its endpoint."""
    kernel = (flow.kernel.allowed, flow.kernel.judges, flow.kernel.wrong)
    told = (flow.egress, flow.ingress, kernel, flow.port, flow.protocol, flow.differs)
    shape = msgspec.json.encode(told)
    for name in (flow.destination.pod, flow.destination.address):
        shape = shape.replace(name.encode(), b"*") if name else shape
    return shape


def _headline(group: Sequence[FlowAnswer]) -> Text:
    flow, *rest = group
    there = flow.destination.words
    line = Text.assemble(
        f"{flow.source.words} → {there} port {flow.port}/{flow.protocol}",
        (f"  by {flow.dialled}" if flow.dialled else "", "cyan"),
        (f", seen there as {flow.seen_as}" if flow.seen_as else "", "cyan"),
    )
    if rest:
        names = [each.destination.words for each in rest[:_NAMED]]
        more = f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else ""
        line.append(f"\nthe same for {', '.join(names)}{more}", "dim")
    return line


def _table(flow: FlowAnswer) -> Table:
    table = Table(show_lines=True)
    table.add_column("", no_wrap=True)
    table.add_column("The policies' text", ratio=1, overflow="fold")
    table.add_column(f"The kernel of {flow.kernel.node}", ratio=1, overflow="fold")
    steps = _by_side(flow.kernel.steps)
    sides = (("egress", flow.egress, flow.source), ("ingress", flow.ingress, flow.destination))
    for name, side, end in sides:
        table.add_row(name, _side(side), _kernel_side(flow.kernel, name, steps[name], end))
    table.add_row(
        "together",
        _verdict(allowed=flow.allowed),
        _kernel_verdict(flow.kernel),
    )
    return table


def _side(side: SideAnswer) -> Text:
    """The decision, who made it, and what came closest to another one."""
    text = _verdict(allowed=side.allowed)
    for each in side.passed:
        text.append(f"\n{each.rule} leaves it to the next tier", "dim")
    text.append(f"\n{side.reason}")
    if side.nearest_miss and side.nearest_miss != side.reason:
        text.append(f"\nnearest: {side.nearest_miss}", "yellow")
    return text


def _kernel_side(
    kernel: KernelAnswer, name: str, steps: Sequence[StepAnswer], end: EndAnswer
) -> Text:
    if name not in kernel.judges:
        if end.pod:
            where = f"{end.pod} runs on {end.node or 'no node yet'}"
            return Text(f"not judged here: {where}", "dim")
        return Text("nothing to judge: no pod's address", "dim")
    if kernel.allowed is None:
        return Text("? cannot be told", "red")
    dropped = any(step.effect == "drop" for step in steps)
    if name == "ingress" and not (dropped or kernel.allowed):
        return Text("not reached", "dim")
    text = Text("✗ dropped", "red") if dropped else Text("✓ passes", "green")
    for step in steps:
        text.append(f"\n{step.why} " if step.why else "\n", "dim")
        text.append(f"→ {step.effect}", "red" if step.effect == "drop" else "")
        if step.packets is not None:
            text.append(f" ({step.packets} packet{'s' * (step.packets != 1)} so far)", "red")
    return text


def _by_side(steps: Sequence[StepAnswer]) -> dict[str, list[StepAnswer]]:
    """Rules that decide, in order; from the jump to `ingress` on those of the other end.

    What only leads on to the next chain is left out; --json has it.
    """
    found: dict[str, list[StepAnswer]] = {"egress": [], "ingress": []}
    side = "egress"
    for step in steps:
        if step.effect == "jump ingress" or step.chain.startswith("ingress"):
            side = "ingress"
        if not step.effect.startswith(("jump ", "goto ", "remember ", "logged ")):
            found[side].append(step)
    return found


def _verdict(*, allowed: bool) -> Text:
    return Text("✓ allowed", "green") if allowed else Text("✗ denied", "red")


def _kernel_verdict(kernel: KernelAnswer) -> Text:
    if kernel.allowed is None:
        return Text("? cannot be told", "red")
    if not kernel.allowed:
        return Text(f"✗ dropped by {kernel.node}", "red")
    if not kernel.judges:
        return Text("not judged here", "dim")
    return Text(f"✓ passes {kernel.node}", "green")


def _wrong(flow: FlowAnswer) -> Iterator[Text]:
    """Why the two differ: with luck the very element, else only that they do."""
    if not flow.differs:
        return
    yield Text("the kernel does not do what the policies say", "bold red")
    for sentence in flow.kernel.wrong:
        yield Text(f"  {sentence}", "red")
    yield Text("  the agent's log and `podwire observe` may say why", "dim")
