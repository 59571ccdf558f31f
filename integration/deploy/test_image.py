"""The image, really built, and run with what the DaemonSet gives it: `make test-image`.

No docker runs here: buildah builds it in a chroot, on a base made of Debian's packages, and runc
runs it. What that cannot show is in deploy/README.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import account
import container
import pytest
import rendered
from container import Container
from control_plane import ADDRESS, ControlPlane
from rendered import DEPLOY, OVERLAYS
from scratch import Netns, until

NODE = "node1"
#: MB, without the base: what a node pulls more than Debian.
MOST_MB = 110


class Image(NamedTuple):
    """The image, unpacked: its files, its configuration, and its size and its base's in MB."""

    rootfs: Path
    config: dict[str, Any]
    own_mb: float


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    if not os.environ.get("PODWIRE_IMAGE_TEST"):
        pytest.skip("building the image takes minutes: `make test-image` does it")
    for program in ("buildah", "mmdebstrap", "runc"):
        assert shutil.which(program), f"needs {program}: apt-get install {program}"
    folder = tmp_path_factory.mktemp("image")
    build = _Buildah(folder)
    try:
        build.run(str(DEPLOY / "debian-base"), "localhost/debian:test")
        build.run(str(DEPLOY / "build-image"), "localhost/podwire:test", "--quiet")
        name = build.run("buildah", "from", "localhost/podwire:test")
        rootfs = Path(build.run("buildah", "mount", name))
        config = json.loads(
            build.run("buildah", "inspect", "--type=image", "localhost/podwire:test")
        )
        own = _megabytes(rootfs) - _megabytes(build.mounted("localhost/debian:test"))
        yield Image(rootfs, config["OCIv1"]["config"], own)
    finally:
        build.run("buildah", "rm", "--all")
        shutil.rmtree(folder / "store", ignore_errors=True)  # gigabytes, which pytest would keep


class _Buildah:
    """buildah with a storage of its own, that needs neither overlayfs nor a runtime."""

    def __init__(self, folder: Path) -> None:
        settings = folder / "storage.conf"
        rows = {"driver": "vfs", "graphroot": f"{folder}/store", "runroot": f"{folder}/run"}
        body = "".join(f'{key} = "{value}"\n' for key, value in rows.items())
        settings.write_text(f"[storage]\n{body}")
        self._environ = {
            **os.environ,
            "CONTAINERS_STORAGE_CONF": str(settings),
            "STORAGE_DRIVER": "vfs",
            "BUILDAH_ISOLATION": "chroot",
            "ENGINE": "buildah",
            "BASE": "localhost/debian:test",
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environ, capture_output=True, text=True, check=False, timeout=900
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def mounted(self, image: str) -> Path:
        return Path(self.run("buildah", "mount", self.run("buildah", "from", image)))


@pytest.fixture(scope="module")
def plane(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    assert image
    with account.audited(tmp_path_factory.mktemp("plane")) as made:
        spec = {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}
        made.request("POST", "/api/v1/nodes", {"metadata": {"name": NODE}, "spec": spec})
        status = {"addresses": [{"type": "InternalIP", "address": ADDRESS}]}
        made.request("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": status})
        yield made


class Site:
    """A node for the DaemonSet's container."""

    def __init__(self, image: Image, plane: ControlPlane, folder: Path) -> None:
        self.image, self.plane, self.folder = image, plane, folder
        self.host = folder / "host"

    @contextmanager
    def running(self, objects: dict[str, Any]) -> Iterator[Container]:
        """With its account's token and the way to the API server, as kubelet gives them."""
        bundle = self.folder / "bundle"
        secrets = bundle / "account"
        secrets.mkdir(parents=True, exist_ok=True)
        (secrets / "token").write_text(account.token(self.plane, NODE))
        certificate = self.plane.folder / "certificates/apiserver.crt"
        (secrets / "ca.crt").write_bytes(certificate.read_bytes())
        service = {"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": "6443"}
        node = container.Node(NODE, self.plane.netns, self.host, service)
        made = container.running(self.image.rootfs, self.image.config, objects, node, bundle)
        with made as running:
            yield running

    def until_ready(self, running: Container, objects: dict[str, Any]) -> None:
        """By the DaemonSet's own probe."""
        pod = objects["DaemonSet"]["spec"]["template"]["spec"]
        probe = pod["containers"][0]["readinessProbe"]["exec"]["command"]

        def ready() -> bool:
            assert running.process.poll() is None, running.log.read_text()
            return running.run(*probe) == 0

        until("the probe says that it is ready", ready, 60)

    def cni(self, command: str, pod: Netns) -> subprocess.CompletedProcess[str]:
        """A CNI call by the client that the agent installed, as the node's runtime makes it."""
        conflist = json.loads((self.host / "etc/cni/net.d/10-podwire.conflist").read_text())
        config = {**conflist["plugins"][0], "name": conflist["name"], "cniVersion": "1.0.0"}
        config["socket"] = str(self.host / config["socket"].lstrip("/"))
        environ = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": "abcdef",
            "CNI_NETNS": f"/run/netns/{pod.name}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
        }
        client = self.host / "opt/cni/bin/podwire"
        return subprocess.run(
            [str(client)],
            input=json.dumps(config),
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def site(image: Image, plane: ControlPlane, tmp_path: Path) -> Site:
    return Site(image, plane, tmp_path)


def test_the_image_is_small_and_holds_nothing_to_build_with(image: Image) -> None:
    assert image.own_mb < MOST_MB
    print(f"RESULT image_mb={image.own_mb:.0f}")
    for program in ("pip", "pip3", "gcc", "cc", "make"):
        assert not list(image.rootfs.glob(f"**/bin/{program}")), program
    assert not list((image.rootfs / "var/lib/apt/lists").iterdir())


def test_its_commands_work_without_anything_mounted(image: Image) -> None:
    podwire = ["chroot", str(image.rootfs), *image.config["Entrypoint"]]
    environ = dict(row.split("=", 1) for row in image.config["Env"])

    def says(*arguments: str) -> str:
        done = subprocess.run(
            [*podwire, *arguments], env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "version 0.1.0" in says("--version")
    assert "--components" in says("agent", "--help")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_becomes_ready_with_what_the_overlay_gives_it(site: Site, overlay: str) -> None:
    account.grant(site.plane, overlay)
    objects = rendered.objects(rendered.kustomized(overlay))
    with site.running(objects) as running:
        site.until_ready(running, objects)
    said = running.log.read_text()
    assert "rror" not in said, said


def test_a_pod_gets_its_network_through_the_client_that_it_installed(
    site: Site, new_netns: Callable[[], Netns]
) -> None:
    account.grant(site.plane, "all")
    objects = rendered.objects(rendered.kustomized("all"))
    pod = new_netns()
    with site.running(objects) as running:
        site.until_ready(running, objects)
        conflist = site.host / "etc/cni/net.d/10-podwire.conflist"
        until("there is a conflist", conflist.exists)
        added = site.cni("ADD", pod)
        assert added.returncode == 0, added.stdout
        assert "10.244.1." in pod.run("ip", "address", "show", "eth0")
        (link,) = (each for each in _links(site.plane.netns) if each.startswith("pw"))
        # Written by the plugin, inside a container whose /proc/sys is read-only at first.
        strict = site.plane.netns.run("cat", f"/proc/sys/net/ipv4/conf/{link}/rp_filter")
        assert strict.strip() == "1"
        assert site.cni("DEL", pod).returncode == 0
        assert "eth0" not in pod.run("ip", "address")


@pytest.mark.parametrize("lost", ["NET_ADMIN", "SYS_ADMIN"])
def test_no_capability_is_superfluous(site: Site, lost: str) -> None:
    account.grant(site.plane, "all")
    objects = rendered.objects(rendered.kustomized("all"))
    pod = objects["DaemonSet"]["spec"]["template"]["spec"]
    pod["containers"][0]["securityContext"]["capabilities"]["add"].remove(lost)
    with site.running(objects) as running:
        until("the agent gives up", lambda: running.process.poll() is not None, 30)
        assert running.process.returncode != 0
    assert "ermi" in running.log.read_text()  # permission denied, not permitted


def _links(netns: Netns) -> list[str]:
    return [each["ifname"] for each in json.loads(netns.run("ip", "-json", "link"))]


def _megabytes(folder: Path) -> float:
    done = subprocess.run(["du", "-sxb", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) / 1e6
