"""Requests to the lab's API server as its administrator, made inside the fabric's namespace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from podwire_core.feed.api_server import ApiServer
from podwire_lab.kubernetes.credentials import kubeconfig
from podwire_lab.machine import daemons, namespaces
from podwire_lab.topology import Lab

T = TypeVar("T")


def ask(lab: Lab, questions: Callable[[ApiServer], T]) -> T:
    """What `questions` gives; they run in a thread inside, and their connections stay there.

    Raises FileNotFoundError when the lab has no namespace, and what `questions` raises.
    """
    return namespaces.inside(lab.fabric, lambda: questions(connect(lab)))


def connect(lab: Lab) -> ApiServer:
    """The server, for a thread that is inside. Raises FeedError."""
    with _without_proxies():
        return ApiServer.connect(kubeconfig(lab, "admin"))


@contextmanager
def _without_proxies() -> Iterator[None]:
    """The configuration asks the environment for proxies; no proxy leads into a lab."""
    before = dict(os.environ)
    for name in before.keys() - daemons.environment().keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)
