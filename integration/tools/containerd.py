"""A containerd of the test's own, driven by `ctr` as people drive it.

ctr has no setting for CNI: it takes the first configuration of /etc/cni/net.d and the plugins of
/opt/cni/bin, which are the machine's own (private_machine.py).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import busybox_image
import private_machine
from private_machine import Machine
from scratch import until

SOCKET = "/run/containerd/containerd.sock"
# The native snapshotter copies, and works on every file system. A sandbox is a busybox that serves.
# Network namespaces stand in the machine's own folder: one that is killed leaves none elsewhere.
_CONFIG = f"""
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{busybox_image.NAME}"
disable_apparmor = true
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""
#: Where containerd keeps what kubelet asks for.
_CRI = "k8s.io"


@dataclass
class Containerd:
    """A running daemon; its containers are in a namespace that has the machine's name."""

    machine: Machine
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _clients: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        """Start the daemon, for the first time or after kill()."""
        self.folder.mkdir(exist_ok=True)
        config = self.folder / "config.toml"
        config.write_text(_CONFIG)
        with (self.folder / "log").open("ab") as log:
            command = self.machine.enter("containerd", "--config", str(config))
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until("containerd answers", self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return self.machine.run(*self._ctr("version")).returncode == 0

    def kill(self) -> None:
        """As the kernel would, short of memory; its containers go on."""
        assert self.process is not None
        os.kill(private_machine.child(self.process.pid), signal.SIGKILL)
        self.process.wait(10)

    def load(self, archive: Path) -> None:
        """Take an image, for ctr and for kubelet's interface."""
        words = ("image", "import", "--snapshotter", "native", str(archive))
        self.ctr(*words)
        self.machine.output("ctr", "--address", SOCKET, "--namespace", _CRI, *words)

    def ctr(self, *words: str) -> str:
        """What ctr says, which must succeed."""
        return self.machine.output(*self._ctr(*words))

    def begin(
        self, container: str, *command: str, options: Sequence[str] = ("--rm",)
    ) -> subprocess.Popen[bytes]:
        """`ctr run --cni`, which ends with DEL unless `--detach` is an option."""
        words = ["run", *options, "--cni", "--snapshotter", "native"]
        words += ["--cgroup", f"/{self.machine.name}/{container}", busybox_image.NAME, container]
        with (self.folder / f"{container}.log").open("ab") as log:
            process = subprocess.Popen(
                self.machine.enter(*self._ctr(*words), *command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._clients.append(process)
        return process

    def run(self, container: str, *command: str) -> subprocess.Popen[bytes]:
        """The same, once it runs."""
        process = self.begin(container, *command)

        def runs() -> bool:
            assert process.poll() is None, self.log(container)
            return self.running().get(container) is not None

        until(f"{container} runs", runs)
        return process

    def running(self) -> dict[str, str]:
        """Process ids of containers that run, by the machine's own count."""
        rows = [line.split() for line in self.ctr("task", "ls").splitlines()]
        return {words[0]: words[1] for words in rows if words[-1] == "RUNNING"}

    def log(self, container: str) -> str:
        """What `ctr run` said of a container, and the container itself."""
        return (self.folder / f"{container}.log").read_text()

    def inside(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A program of ours in a container's network, whatever it answers."""
        return self.machine.run(
            "nsenter", f"--target={self.running()[container]}", "--net", *command
        )

    def end(self, container: str) -> None:
        """SIGKILL to the container's process."""
        self.ctr("task", "kill", "--signal", "SIGKILL", container)

    def _ctr(self, *words: str) -> list[str]:
        return ["ctr", "--address", SOCKET, "--namespace", self.machine.name, *words]

    def close(self) -> None:
        """Whatever still runs ends with the machine; here its clients are waited for."""
        for process in [*self._clients, *([self.process] if self.process else [])]:
            process.kill()
            process.wait()


@contextmanager
def containerd(machine: Machine, folder: Path, archive: Path) -> Iterator[Containerd]:
    """A containerd with an image in it."""
    made = Containerd(machine, folder)
    try:
        made.start()
        made.load(archive)
        yield made
    finally:
        made.close()
