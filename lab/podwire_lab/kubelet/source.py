"""Where a node's pods come from, and where it is said how they stand.

    FolderSource   objects/ of the lab      ─► pods ─► reports/NODE/
    ApiSource      an API server (api_source)          the same, and the pods' status

The runner knows neither: it reads news and tells reports.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import msgspec

from podwire_core import typed
from podwire_core.feed.directory import DirectoryFeed
from podwire_core.files import write_json
from podwire_core.objects import ObjectName
from podwire_lab.report import PodReport
from podwire_lab.workloads import LabPod

_POD = {("", "Pod"): LabPod}
_RETRY = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class News:
    """Pods of this node that came or changed, and names that are not this node's (None).

    synced: all there is has been read at least once; until then nothing may be ended.
    """

    pods: dict[ObjectName, LabPod | None]
    synced: bool = True


class Source(Protocol):
    """See the module's docstring. Used inside one event loop."""

    def fileno(self) -> int:
        """Readable when `read` has news."""
        ...

    def read(self) -> News:
        """What changed. Raises FeedError when the source is gone for good."""
        ...

    def reports(self) -> Iterator[PodReport]:
        """What was told of pods of which something may still be there."""
        ...

    def tell(self, pod: LabPod, report: PodReport | None) -> None:
        """How a pod stands; None: nothing is left of it on this node. Never blocks or raises."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ReportFiles:
    """The reports' folder of one node. What cannot be written is tried again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unwritten: dict[ObjectName, PodReport | None] = {}

    def read(self) -> Iterator[PodReport]:
        """Every report there is; what cannot be read is logged."""
        for file in sorted(self._folder.glob("*.json")):
            try:
                yield typed.decode(file.read_bytes(), PodReport)
            except (OSError, msgspec.DecodeError) as error:
                _log.warning("%s: %s", file, error)

    def tell(self, name: ObjectName, report: PodReport | None) -> None:
        """Write a report, or take it away."""
        file = self._folder / f"{name.namespace}.{name.name}.json"
        self._unwritten.pop(name, None)
        try:
            if report is None:
                file.unlink(missing_ok=True)
            else:
                write_json(file, report)
        except FileNotFoundError:
            return  # `down` took the lab's folder away
        except OSError as error:
            if report is None and error.errno == errno.ENAMETOOLONG:
                return  # no file can have this name, so there is none
            _log.warning("%s: %s; tries again", file, error)
            self._unwritten[name] = report
            asyncio.get_running_loop().call_later(_RETRY, self._again, name)

    def _again(self, name: ObjectName) -> None:
        if name in self._unwritten:
            self.tell(name, self._unwritten[name])


class FolderSource:
    """The lab's own control plane: objects in a folder. See Source."""

    def __init__(self, objects: Path, files: ReportFiles, node: str) -> None:
        """Raises FeedError when there is no such folder."""
        self._feed = DirectoryFeed(objects, _POD)
        self._files = files
        self._node = node

    def fileno(self) -> int:
        """See Source."""
        return self._feed.fileno()

    def read(self) -> News:
        """See Source."""
        batch = self._feed.read()
        for error in batch.errors:
            _log.warning("%s", error)
        pods = {change.name: cast("LabPod | None", change.new) for change in batch.changes}
        return News(
            {name: pod if self._is_ours(pod) else None for name, pod in pods.items()},
            batch.synced,
        )

    def reports(self) -> Iterator[PodReport]:
        """See Source."""
        return self._files.read()

    def tell(self, pod: LabPod, report: PodReport | None) -> None:
        """See Source."""
        self._files.tell(pod.name, report)

    def close(self) -> None:
        """See Source."""
        self._feed.close()

    def _is_ours(self, pod: LabPod | None) -> bool:
        return pod is not None and pod.spec.node_name == self._node
