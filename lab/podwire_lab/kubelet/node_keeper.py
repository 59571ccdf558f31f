"""A node in the API: registered, said to be ready or not, and its lease kept fresh.

    register ─► status, when the network changes and every 5 minutes
            └─► lease in kube-node-lease, every 10 seconds: who does not renew it is gone

A Node that is there already is taken over; one that was deleted is registered again.

Source: kubernetes.io, "Nodes", "Leases".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from podwire_core.backoff import Backoff
from podwire_core.feed.api_server import ApiError
from podwire_lab.kubelet import node_object, pod_status
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.networks import InstalledNetwork
from podwire_lab.kubelet.requests import STRATEGIC, Requests
from podwire_lab.topology import LabNode

_RENEW = 10.0
_LEASE_SECONDS = 40
_HEARTBEAT = 300.0
_NODES = "/api/v1/nodes"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

_log = logging.getLogger(__name__)


class NodeKeeper:
    """Run `keep` as a task, for as long as the node is there."""

    def __init__(
        self, requests: Requests, node: LabNode, network: InstalledNetwork, clock: Clock
    ) -> None:
        self._requests, self._node, self._network = requests, node, network
        self._clock = clock
        self._host = node_object.HostFacts.read()
        self._since: dict[str, tuple[str, str]] = {}
        self._uid = ""

    async def keep(self) -> None:
        """Never returns."""
        await self._insist(self._register)
        await asyncio.gather(self._say_how_it_is(), self._renew())

    async def _say_how_it_is(self) -> None:
        while True:
            changed = asyncio.create_task(self._network.changes())
            await self._insist(self._write_status)
            beat = asyncio.create_task(self._clock.sleep(_HEARTBEAT))
            try:
                await asyncio.wait({changed, beat}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                beat.cancel()

    async def _renew(self) -> None:
        while True:
            await self._insist(self._write_lease)
            await self._clock.sleep(_RENEW)

    async def _insist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Until it works; a row of failures is said once."""
        backoff = Backoff(0.25, _RENEW, jitter=0.5)
        while True:
            try:
                return await act()
            except ApiError as error:
                if not backoff.until:
                    _log.warning("node %s: %s; tries again", self._node.name, error)
                await self._clock.sleep(backoff.failed(0.0))

    # ------------------------------------------------------------------------- requests

    async def _register(self) -> None:
        """Make the Node, or take over the one that is there. Raises ApiError."""
        name, labels = self._node.name, node_object.labels(self._node, self._host)
        status = self._status()
        status["addresses"] = status["addresses"][1:]  # a whole object is no patch
        metadata = {"name": name, "labels": labels}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}
        try:
            made = await self._requests.send("POST", _NODES, node)
        except ApiError as error:
            if error.status != 409:
                raise
            body = {"metadata": {"labels": labels}}
            made = await self._requests.send("PATCH", f"{_NODES}/{name}", body, STRATEGIC)
            known = made.get("status", {}).get("conditions") or ()
            self._since = pod_status.since(known)
        self._uid = made["metadata"]["uid"]

    async def _write_status(self) -> None:
        path = f"{_NODES}/{self._node.name}/status"
        try:
            await self._requests.send("PATCH", path, {"status": self._status()}, STRATEGIC)
        except ApiError as error:
            if error.status != 404:
                raise
            await self._register()
            await self._requests.send("PATCH", path, {"status": self._status()}, STRATEGIC)

    def _status(self) -> node_object.Document:
        problem, now = self._network.problem, self._clock.utc()
        status = node_object.status(self._node, self._host, problem, self._since, now)
        self._since |= pod_status.since(status["conditions"])
        return status

    async def _write_lease(self) -> None:
        """Renew the lease. With its Node goes the lease: so who finds none registers first."""
        name = self._node.name
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": self._clock.utc().removesuffix("Z") + ".000000Z",  # a MicroTime
        }
        try:
            await self._requests.send("PATCH", f"{_LEASES}/{name}", {"spec": spec}, STRATEGIC)
        except ApiError as error:
            if error.status != 404:
                raise
            await self._register()
            await self._requests.send("POST", _LEASES, self._lease(spec))

    def _lease(self, spec: dict[str, Any]) -> dict[str, Any]:
        name = self._node.name
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
        metadata = {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
        kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return {**kind, "metadata": metadata, "spec": spec}
