"""An agent that serves sockets, on a site with servers on its pods."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import bpf_place
import pytest
from flow_servers import Servers
from flow_site import site
from scratch import Netns
from socket_agent import SocketAgent

from podwire_core.family import Family
from podwire_ebpf.place import Place
from podwire_ebpf.plane import remove
from podwire_proxy import layout


@pytest.fixture(scope="module")
def namespaces() -> Iterator[dict[str, Netns]]:
    with site() as netns:
        servers = Servers()
        servers.start({each: netns[each] for each in ("a", "b")}, {"a": [8080], "b": [8080]})
        try:
            yield netns
        finally:
            servers.close()


@pytest.fixture
def agent(namespaces: dict[str, Netns], tmp_path: Path) -> Iterator[SocketAgent]:
    (tmp_path / "bpf").mkdir()
    with bpf_place.place(tmp_path / "bpf") as place:
        made = SocketAgent(namespaces, tmp_path, place)
        made.service()
        made.endpoints("a", "b")
        try:
            yield made
        finally:
            made.stop(signal.SIGKILL)
            for folder in place.folder.parent.iterdir():
                remove(Place(place.cgroup, folder))
            for family in Family:
                made.home.run("nft", "add", "table", *layout.table(family).key)
                made.home.run("nft", "delete", "table", *layout.table(family).key)
