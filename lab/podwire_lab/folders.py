"""Where a lab keeps its files, and how they are written: whole, or not at all.

    /run/podwire/lab/LAB/            0700, gone after `down`
    ├── lab.json                     the Lab value; written before anything else is made
    ├── manifests/KIND.NS.NAME.json  what the user applied, one raw document a file
    ├── objects/KIND.NS.NAME.json    what the control plane says; agents, runners, DNS watch it
    ├── reports/NODE/NS.NAME.json    what a node's runner says of one pod of its node
    ├── nodes/NODE/                  agent.log, runner.log, agent.json (the agent's status), cni/,
    │                                cni-conf/ (the CNI configuration that the agent writes),
    │                                control/ (the socket where it answers questions)
    ├── pods/NS.NAME/                CONTAINER.log, resolv.conf, hosts
    ├── bpf/NODE/                    a bpffs: the programs and maps of the node's agent, if any
    ├── problems.json                what of all this cannot be used
    ├── kubernetes/                  certificates, kubeconfigs and logs of a real control plane
    └── controller.log               or mirror.log

One writer each: the CLI writes manifests, the controller objects, a runner its reports. Under
a real control plane manifests/ is empty, and objects/ is written by the mirror of its API.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from podwire_core import typed
from podwire_core.files import write_json
from podwire_lab.topology import Lab

ROOT = Path("/run/podwire/lab")


@dataclass(frozen=True)
class Folders:
    """Paths of one lab."""

    root: Path

    @classmethod
    def of(cls, lab: str) -> Folders:
        """Paths of the lab of that name."""
        return cls(ROOT / lab)

    @property
    def lab_file(self) -> Path:
        """The Lab value."""
        return self.root / "lab.json"

    @property
    def manifests(self) -> Path:
        """What the user applied."""
        return self.root / "manifests"

    @property
    def objects(self) -> Path:
        """What the control plane publishes."""
        return self.root / "objects"

    @property
    def reports(self) -> Path:
        """What the runners report, a folder per node."""
        return self.root / "reports"

    @property
    def kubernetes(self) -> Path:
        """A real control plane's files."""
        return self.root / "kubernetes"

    @property
    def bpf(self) -> Path:
        """Where a bpffs is mounted, if the nodes' agents serve sockets."""
        return self.root / "bpf"

    def node(self, name: str) -> Path:
        """A node's logs and state."""
        return self.root / "nodes" / name

    def pod(self, namespace: str, name: str) -> Path:
        """A pod's logs and its /etc files."""
        return self.root / "pods" / f"{namespace}.{name}"

    def claim(self) -> None:
        """Make the root: of several who try at once one succeeds, and the lab is theirs alone.

        Raises FileExistsError for the others.
        """
        self.root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.root.mkdir(mode=0o700)

    def fill(self, lab: Lab) -> None:
        """Write the Lab and make the folders inside the root."""
        write_json(self.lab_file, lab)
        folders = [self.manifests, self.objects, self.root / "pods"]
        folders += [self.node(node.name) for node in lab.nodes]
        folders += [self.reports / node.name for node in lab.nodes]
        for folder in folders:
            folder.mkdir(mode=0o700, parents=True)

    def load(self) -> Lab:
        """The Lab value. Raises FileNotFoundError when there is no such lab."""
        return typed.decode(self.lab_file.read_bytes(), Lab)
