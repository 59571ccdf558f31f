"""A cluster without machines: its control plane is real, its runners are played."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from itertools import count

import msgspec
import pytest

from podwire_core.feed.decode import kind_of
from podwire_core.feed.documents import parse_documents
from podwire_core.snapshot import Snapshot
from podwire_lab.control.desired import Desired, desired
from podwire_lab.control.manifests import Document, Manifest, read_manifest
from podwire_lab.report import ContainerReport, Phase, PodReport
from podwire_lab.topology import Lab, plan_lab
from podwire_lab.workloads import LAB_KINDS, LabEndpointSlice, LabPod, LabService


def read(text: str) -> list[Manifest]:
    documents = parse_documents(textwrap.dedent(text).encode(), is_json=False)
    return [read_manifest("test.yaml", document) for document in documents]


class Cluster:
    """Apply text, `tick` the control plane, `play` the runners; ask what is published."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.manifests: dict[tuple[str, str], Manifest] = {}
        self.reports: dict[str, PodReport] = {}
        self.result = Desired({})
        self._moments = count()

    @property
    def objects(self) -> dict[str, Document]:
        return dict(self.result.objects)

    def apply(self, text: str) -> Cluster:
        self.manifests |= {(each.kind, str(each.name)): each for each in read(text)}
        return self.tick()

    def delete(self, kind: str, name: str) -> Cluster:
        del self.manifests[kind, name]
        return self.tick()

    def tick(self) -> Cluster:
        now = f"2030-01-01T00:00:00.{next(self._moments):06}Z"
        manifests = list(self.manifests.values())
        self.result = desired(self.lab, manifests, self.reports.values(), self.objects, now)
        return self

    def play(self, *, ready: bool = True) -> Cluster:
        """Every pod on a node runs; those told to go are gone."""
        for pod in self.all(LabPod):
            if pod.terminating:
                self.reports.pop(pod.metadata.uid, None)
            elif pod.spec.node_name in {node.name for node in self.lab.nodes}:
                self.reports[pod.metadata.uid] = self._report(pod, ready=ready)
        return self.tick()

    def settle(self) -> Cluster:
        for _ in range(20):
            before = self.objects
            if self.play().objects == before:
                return self
        raise AssertionError("the cluster never comes to rest")

    def report(self, *names: str, **changes: object) -> Cluster:
        """Let runners say something else of pods that they reported before."""
        for uid in [self.pod(name).metadata.uid for name in names]:
            self.reports[uid] = msgspec.structs.replace(self.reports[uid], **changes)
        return self.tick()

    def _report(self, pod: LabPod, *, ready: bool) -> PodReport:
        known = self.reports.get(pod.metadata.uid)
        number = len(self.reports) + 2
        cidrs = self.lab.node(pod.spec.node_name).pod_cidrs
        ips = (cidrs[0].replace(".0/24", f".{number}"), cidrs[1].replace("::/64", f"::{number:x}"))
        return PodReport(
            namespace=pod.name.namespace,
            name=pod.name.name,
            uid=pod.metadata.uid,
            phase=Phase.RUNNING,
            pod_ips=known.pod_ips if known else ips,
            ready=ready,
            containers=(ContainerReport("c", pid=1, ready=ready),),
        )

    # ------------------------------------------------------------------------ questions

    @property
    def snapshot(self) -> Snapshot:
        documents = self.objects.values()
        return Snapshot(msgspec.convert(each, kind_of(each, LAB_KINDS)) for each in documents)

    def all(self, kind):
        return self.snapshot.all(kind)

    def pods(self, prefix: str = "") -> list[LabPod]:
        """The user's pods: the system's own are no test's subject."""
        pods = [pod for pod in self.all(LabPod) if pod.name.namespace != "kube-system"]
        return [pod for pod in pods if str(pod.name).startswith(prefix)]

    def pod(self, name: str) -> LabPod:
        return next(pod for pod in self.pods() if str(pod.name) == name)

    def service(self, name: str) -> LabService:
        return next(each for each in self.all(LabService) if str(each.name) == name)

    def slices(self, service: str) -> list[LabEndpointSlice]:
        return [each for each in self.all(LabEndpointSlice) if str(each.service) == service]

    @property
    def errors(self) -> list[str]:
        return [str(replace(error, source="")) for error in self.result.errors]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(plan_lab("test", 2))


@pytest.fixture(scope="session")
def make_cluster():
    return lambda nodes, **more: Cluster(plan_lab("test", nodes, **more))
