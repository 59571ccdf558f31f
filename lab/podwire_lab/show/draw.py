"""A lab as a drawing: the bridge, each node on it with its pods, and the Services.

    ┌─ fabric ──────────────────────────────────┐
    │ 192.168.100.1  fd00:192:168:100::1        │
    └┬──────────────────────────────────────────┘
     └────┬─────────────────────┐
       ┌──┴─ node1 ─────────┐ ┌─┴─ …         as many side by side as the width holds
       │ ● shop/web-x2k9q … │

Pure: values in, one rich Text out, whose str() is the plain drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from rich.text import Text

from podwire_core.objects import ObjectName
from podwire_core.snapshot import Snapshot
from podwire_lab.overview import pod_cidrs, ready_endpoints
from podwire_lab.topology import Lab, LabNode, ProxyMode
from podwire_lab.workloads import LabEndpointSlice, LabPod, LabService

PODS_PER_NODE = 12
MIN_WIDTH = 42
_NARROWEST_BOX = 36
_TAP = 3  # the column of a box where its leg to the bridge ends
_LINES = "blue"
_LEGEND = "● ready  ◐ not ready  ○ pending  ◌ leaving  ✓ done  ✗ failed"


def draw_topology(lab: Lab, snapshot: Snapshot, width: int = 80) -> Text:
    """The lab as it stands in the snapshot (of LAB_KINDS), `width` columns wide.

    Print it with rich for colour; str() of it is the drawing without.
    """
    width = max(MIN_WIDTH, width)
    pods = snapshot.all(LabPod)
    nodes = {node.name for node in lab.nodes}
    lines = [*_bridge(lab, width), *_nodes(lab, snapshot, width), Text(f"   {_LEGEND}", "dim")]
    lines += [_nowhere(pod) for pod in pods if pod.spec.node_name not in nodes]
    lines += [Text(), *_services(snapshot)]
    for line in lines:
        line.rstrip()
        line.truncate(width, overflow="ellipsis")
    return Text("\n", no_wrap=True).join(lines)


# ----------------------------------------------------------------------- bridge and nodes


def _bridge(lab: Lab, width: int) -> list[Text]:
    box = _box("fabric", [[Text("  ".join(lab.gateways))]], width, "─")
    return [*box[:-1], Text(f"└┬{'─' * (width - 3)}┘", _LINES)]


def _nodes(lab: Lab, snapshot: Snapshot, width: int) -> list[Text]:
    """Rows of boxes; the line from the bridge runs down on their left."""
    columns = max(1, min(len(lab.nodes), (width - 2) // (_NARROWEST_BOX + 1)))
    box_width = (width - 2) // columns - 1
    lines: list[Text] = []
    for first in range(0, len(lab.nodes), columns):
        row = lab.nodes[first : first + columns]
        is_last = first + columns >= len(lab.nodes)
        legs = ["─" * (_TAP + 1), *["─" * box_width] * (len(row) - 1)]
        lines.append(Text(f" {'└' if is_last else '├'}{'┬'.join(legs)}┐", _LINES))
        boxes = [_box(node.name, _content(lab, node, snapshot), box_width, "┴") for node in row]
        lines += [
            Text("   " if is_last else " │ ", _LINES) + Text(" ").join(cells)
            for cells in zip_longest(*boxes, fillvalue=Text(" " * box_width))
        ]
    return lines


def _content(lab: Lab, node: LabNode, snapshot: Snapshot) -> list[list[Text]]:
    """What a node's box shows, by sections: its addresses, its pods."""
    here = [pod for pod in snapshot.all(LabPod) if pod.spec.node_name == node.name]
    rows = [_pod(pod) for pod in here[:PODS_PER_NODE]]
    if len(here) > PODS_PER_NODE:
        rows.append(Text(f"… and {len(here) - PODS_PER_NODE} more", "dim"))
    cidrs = pod_cidrs(lab, node, snapshot)
    facts = [*zip_longest(["node"], node.ips), *zip_longest(["pods"], cidrs)]
    if lab.proxy_mode is not ProxyMode.NFTABLES:
        facts.append(("proxy", lab.proxy_mode.value))
    return [
        [Text.assemble((f"{word or '':<6}", "dim"), value or "") for word, value in facts],
        rows,
    ]


def _pod(pod: LabPod) -> Text:
    mark, style = _mark(pod)
    ips = [row.ip for row in pod.status.pod_ips or ()]
    return Text.assemble((mark, style), f" {pod.name}", ("\t", ""), (ips[0] if ips else "", "dim"))


def _mark(pod: LabPod) -> tuple[str, str]:
    if pod.terminating:
        return "◌", "magenta"
    if pod.ready:
        return "●", "green"
    marks = {"Running": ("◐", "yellow"), "Succeeded": ("✓", "dim"), "Failed": ("✗", "red")}
    return marks.get(pod.status.phase, ("○", "yellow"))


def _nowhere(pod: LabPod) -> Text:
    return Text(f"   ○ {pod.name}: {pod.status.message}", "yellow")


def _box(title: str, sections: Sequence[Sequence[Text]], width: int, tap: str) -> list[Text]:
    """A box with a title; its sections are divided by lines, and empty ones left out."""
    head = Text.assemble(("┌" + "─" * (_TAP - 1) + tap + "─ ", _LINES), (title, "bold"), " ")
    head.append("─" * (width - len(head) - 1) + "┐", _LINES)
    lines = [head]
    for number, rows in enumerate(section for section in sections if section):
        if number:
            lines.append(Text(f"├{'─' * (width - 2)}┤", _LINES))
        lines += [_inside(row, width) for row in rows]
    return [*lines, Text(f"└{'─' * (width - 2)}┘", _LINES)]


def _inside(row: Text, width: int) -> Text:
    """A row between the sides of a box; what follows a tab stands on the right."""
    left, *right = row.split("\t")
    room = width - 4 - sum(len(part) + 1 for part in right if part)
    parts = Text(" ").join([_cut(left, room), *(part for part in right if part)])
    return Text.assemble(("│ ", _LINES), parts, (" │", _LINES))


def _cut(text: Text, room: int) -> Text:
    """The text in exactly so many columns; a long name keeps its end, which tells it apart."""
    if len(text) <= room:
        return text + Text(" " * (room - len(text)))
    return text[: room - 7] + Text("…") + text[-6:]


# ------------------------------------------------------------------------------- Services


def _services(snapshot: Snapshot) -> list[Text]:
    ready, known = ready_endpoints(snapshot), _known_endpoints(snapshot)
    rows = [("SERVICE", "TYPE", "ADDRESS", "PORTS", "READY")]
    for service in snapshot.all(LabService):
        count = f"{ready.get(service.name, 0)}/{known.get(service.name, 0)}"
        named = [str(service.name)], [service.spec.type], _addresses(service), _ports(service)
        rows += zip_longest(*named, [count], fillvalue="")
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    texts = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return [Text(text, "dim" if number == 0 else "") for number, text in enumerate(texts)]


def _addresses(service: LabService) -> list[str]:
    if service.spec.type == "ExternalName":
        return [service.spec.external_name]
    if service.headless:
        return ["headless"]
    return [*service.cluster_ips, *(f"{ip} outside" for ip in service.outer_ips)]


def _ports(service: LabService) -> list[str]:
    return [
        f"{row.port}{f':{row.node_port}' if row.node_port else ''}/{row.protocol}"
        for row in service.spec.ports or ()
    ]


def _known_endpoints(snapshot: Snapshot) -> dict[ObjectName, int]:
    """All endpoints of each Service, ready or not, of the family that has most."""
    counts: dict[tuple[ObjectName, str], int] = {}
    for each in snapshot.all(LabEndpointSlice):
        if each.service:
            key = (each.service, each.address_type)
            counts[key] = counts.get(key, 0) + len(each.endpoints or ())
    known: dict[ObjectName, int] = {}
    for (service, _), count in counts.items():
        known[service] = max(known.get(service, 0), count)
    return known
