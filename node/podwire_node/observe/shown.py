"""A drop, or a translation, as lines for people: who to whom, and below a drop why.

23:00:01.250 shop/frontend:41320 → shop/db:5432 DROPPED ingress (TCP Flags: SYN)
             NetworkPolicy shop/db isolates pod shop/db for ingress and does not allow it
             nearest: NetworkPolicy shop/db ingress[0] allows port 5432/TCP from app=api, but …
23:00:02.281 shop/frontend:41320 → shop/db:5432 DROPPED ingress (TCP Flags: SYN)
             of two records in a row with the same reason, the second has its first line alone
23:00:03.120 shop/frontend → 10.96.0.13:80 (shop/api) → shop/api-v9:8080 TRANSLATED (TCP connect)
"""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from podwire_node.observe.record import Endpoint, Record
from podwire_node.reports.logs import one_line

#: How far everything but a record's first line stands to the right.
INDENT = 13
_HERE = {"reserved:host": "this node", "reserved:remote-node": "a node"}


def lines(record: Record, previous: Record | None = None, *, with_node: bool = False) -> list[Text]:
    """The drawing's. previous: the record that was shown just before."""
    head = _head(record, record.node_name if with_node else "")
    again = previous is not None and _reason(previous) == _reason(record)
    return [head] if again else [head, *_why(record)]


def missed(number: int) -> Text:
    """In place of records that came faster than they were read."""
    return Text(f"{number} more, which came faster than they were read here", "dim")


def _head(record: Record, node: str) -> Text:
    ports = record.l4.ports if record.l4 else None
    text = Text()
    text.append(f"{_clock(record.time)} ", "dim")
    text.append(f"{node} " if node else "", "bold")
    text.append(_caller(record, ports.source_port if ports else 0), "cyan")
    text.append(" → ")
    if record.dialled:
        text.append(_dialled(record))
    if not (record.dialled and record.verdict == "DROPPED"):  # then it went nowhere
        text.append(" → " if record.dialled else "")
        there = ports.destination_port if ports else 0
        text.append(_end(record.destination, record.ip.destination, there), "cyan")
    text.append(f" {record.verdict}", "bold red" if record.verdict == "DROPPED" else "bold green")
    if not record.dialled:
        text.append(f" {record.traffic_direction.lower().removeprefix('traffic_direction_')}")
    text.append(f" ({record.summary})", "dim")
    return text


def _caller(record: Record, port: int) -> str:
    if record.netns_cookie and not record.ip.source:
        return f"network namespace {record.netns_cookie}"
    if not record.ip.source and not record.source.pod_name:
        return next((_HERE[label] for label in record.source.labels if label in _HERE), "?")
    return _end(record.source, record.ip.source, port)


def _dialled(record: Record) -> str:
    """10.96.0.13:80 (shop/api)."""
    service = record.destination_service
    return f"{record.dialled} ({service.namespace}/{service.name})" if service else record.dialled


def _why(record: Record) -> list[Text]:
    rows = [Text(one_line(record.reason))] if record.reason else []
    if record.nearest_miss:
        rows.append(Text(f"nearest: {one_line(record.nearest_miss)}", "yellow"))
    return rows


def _reason(record: Record) -> tuple[str, str]:
    return record.reason, record.nearest_miss


def _clock(time: str) -> str:
    """The time of day here, of a record's RFC 3339."""
    when = datetime.fromisoformat(time).astimezone()
    return f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"


def _end(end: Endpoint, address: str, port: int) -> str:
    name = f"{end.namespace}/{end.pod_name}" if end.pod_name else address
    if port:
        name = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    note = next((_HERE[label] for label in end.labels if label in _HERE), "")
    return f"{name} ({note})" if note else name
