from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from podwire_node.reports.logs import OURS


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Whatever a test logs to, the next one does not."""
    names = ("", *OURS)
    before = {name: logging.getLogger(name).level for name in names}
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
