"""One cold start of the feed alone: list everything into a Snapshot, say how long it took.

    python bench/cold.py KUBECONFIG   ─►  {"seconds": 3.2, "peak_mb": 120.5, "objects": 20103}

Run in a process of its own: the clock starts before podwire's imports, the peak is its own.
"""

from __future__ import annotations

import json
import select
import sys
import time
from pathlib import Path

from memory import peak_mb

BEGAN = time.monotonic()


def main() -> None:
    """List, watch until everything was read once, and stop."""
    from podwire_core.feed.api_server import ApiServer  # noqa: PLC0415 - imports count, see above
    from podwire_core.feed.cluster import ClusterFeed  # noqa: PLC0415 - same
    from podwire_core.snapshot import Snapshot  # noqa: PLC0415 - same

    snapshot = Snapshot()
    with ClusterFeed(ApiServer.connect(Path(sys.argv[1]))) as feed:
        synced = False
        while not synced:
            select.select([feed], [], [])
            batch = feed.read()
            synced = batch.synced
            for change in batch.changes:
                snapshot.apply(change)
        seconds = time.monotonic() - BEGAN
    found = {"seconds": seconds, "peak_mb": peak_mb(), "objects": len(snapshot)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
