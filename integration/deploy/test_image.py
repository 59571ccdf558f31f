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
import kernel_features
import pytest
import rendered
from container import Container
from control_plane import ADDRESS, ControlPlane
from rendered import DEPLOY, OVERLAYS
from scratch import Netns, until

from podwire_lab.machine import cgroups

NODE, EBPF = "node1", "all-ebpf"
#: MB, without the base: what a node pulls more than Debian; and that with the compiler.
MOST_MB, MOST_EBPF_MB = 115, 380
_SYS_RESOURCE = 24  # linux/capability.h
_SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"

pytestmark = pytest.mark.timeout(1800)  # an image is built before the first test


class Image(NamedTuple):
    """The image, unpacked: its files, its configuration, and its size and its base's in MB."""

    rootfs: Path
    config: dict[str, Any]
    own_mb: float


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Buildah]:
    """A builder that has the base."""
    if not os.environ.get("PODWIRE_IMAGE_TEST"):
        pytest.skip("building the image takes minutes: `make test-image` does it")
    for program in ("buildah", "mmdebstrap", "runc"):
        assert shutil.which(program), f"needs {program}: apt-get install {program}"
    folder = tmp_path_factory.mktemp("image")
    made = _Buildah(folder)
    try:
        made.run(str(DEPLOY / "debian-base"), "localhost/debian:test")
        yield made
    finally:
        made.run("buildah", "rm", "--all")
        shutil.rmtree(folder / "store", ignore_errors=True)  # gigabytes, which pytest would keep


@pytest.fixture(scope="module")
def image(build: _Buildah) -> Image:
    """The image."""
    return build.image("test")


@pytest.fixture(scope="module")
def ebpf_image(build: _Buildah) -> Image:
    """The one with the compiler."""
    return build.image("test-ebpf", EBPF="1")


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

    def image(self, tag: str, **environ: str) -> Image:
        """deploy/build-image's, and unpacked."""
        name = f"localhost/podwire:{tag}"
        self.run(str(DEPLOY / "build-image"), name, "--quiet", **environ)
        rootfs = self.mounted(name)
        config = json.loads(self.run("buildah", "inspect", "--type=image", name))
        own = _megabytes(rootfs) - _megabytes(self.mounted("localhost/debian:test"))
        return Image(rootfs, config["OCIv1"]["config"], own)

    def run(self, *command: str, **environ: str) -> str:
        environment = {**self._environ, **environ}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=1500
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def mounted(self, image: str) -> Path:
        return Path(self.run("buildah", "mount", self.run("buildah", "from", image)))


@pytest.fixture(scope="module")
def plane(build: _Buildah, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    assert build
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

    def name(self, pod: Netns) -> None:
        """A pod's namespace gets its name on the node, as by a runtime."""
        place = self.host / "run/netns" / pod.name
        place.touch()
        subprocess.run(["mount", "--bind", f"/run/netns/{pod.name}", str(place)], check=True)

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


def test_the_compiler_s_weight_is_that_of_its_own_image(image: Image, ebpf_image: Image) -> None:
    assert image.own_mb < ebpf_image.own_mb < MOST_EBPF_MB
    print(f"RESULT ebpf_image_mb={ebpf_image.own_mb:.0f}")
    assert not (image.rootfs / "usr/lib/python3/dist-packages/bcc").exists()


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


@pytest.mark.parametrize("overlay", [each for each in OVERLAYS if each != EBPF])
def test_it_becomes_ready_with_what_the_overlay_gives_it(site: Site, overlay: str) -> None:
    account.grant(site.plane, overlay)
    objects = rendered.objects(rendered.kustomized(overlay))
    with site.running(objects) as running:
        site.until_ready(running, objects)
    said = running.log.read_text()
    assert "rror" not in said, said


@contextmanager
def sockets_of(site: Site) -> Iterator[Path]:
    """What a node has for sockets. Its cgroup, which is the answer, is one of ours.

    /run/netns is shared, as systemd mounts /run: what is mounted in there later is seen by a
    container that asks for it.
    """
    mount = cgroups.mount()
    assert mount is not None
    own = mount / f"podwire-image-{os.getpid()}"
    places = {
        "sys/fs/bpf": ("-t", "bpf", "bpf"),
        "sys/fs/cgroup": ("--bind", str(own)),
        "run/netns": ("-t", "tmpfs", "--make-shared", "tmpfs"),
    }
    own.mkdir()
    try:
        for name, words in places.items():
            place = site.host / name
            place.mkdir(parents=True)
            subprocess.run(["mount", *words, str(place)], check=True)
        yield own
    finally:
        for name in places:
            subprocess.run(["umount", "--recursive", str(site.host / name)], check=False)
        own.rmdir()


def _take_away_what_we_lack(objects: dict[str, Any]) -> None:
    """SYS_RESOURCE is for kernels before 5.11, and some machines give it to nobody."""
    bounds = Path("/proc/self/status").read_text().partition("CapBnd:")[2].split()[0]
    if not int(bounds, 16) >> _SYS_RESOURCE & 1:
        pod = objects["DaemonSet"]["spec"]["template"]["spec"]
        pod["containers"][0]["securityContext"]["capabilities"]["add"].remove("SYS_RESOURCE")


@contextmanager
def _serving(site: Site) -> Iterator[Container]:
    """The container of all-ebpf, whose programs are attached."""
    account.grant(site.plane, EBPF)
    objects = rendered.objects(rendered.kustomized(EBPF))
    _take_away_what_we_lack(objects)
    with site.running(objects) as running:
        site.until_ready(running, objects)

        def serves() -> bool:
            status = json.loads((site.host / "run/podwire/agent.json").read_bytes())
            return bool(status["proxy_backend"] == "ebpf")

        until("its programs are attached", serves)
        yield running
    said = running.log.read_text()
    assert "rror" not in said, said


@pytest.fixture
def ebpf_site(ebpf_image: Image, plane: ControlPlane, tmp_path: Path) -> Site:
    kernel_features.needs("cgroup_link")
    return Site(ebpf_image, plane, tmp_path)


def test_the_overlay_with_sockets_serves_them(ebpf_site: Site) -> None:
    with sockets_of(ebpf_site), _serving(ebpf_site) as running:
        assert running.run("podwire", "cleanup", "--help") == 0
        assert (ebpf_site.host / "sys/fs/bpf/podwire/links").is_dir()


def test_a_pod_s_socket_is_ended_with_its_endpoint(
    ebpf_site: Site, new_netns: Callable[[], Netns]
) -> None:
    kernel_features.needs("sock_destroy")
    plane, pod, endpoint = ebpf_site.plane, new_netns(), "10.244.9.1"
    vip = _service(plane, endpoint)
    with sockets_of(ebpf_site) as cgroup, _serving(ebpf_site):
        ebpf_site.name(pod)
        client = _client(pod, cgroup, vip)
        try:
            assert client.stdout
            assert client.stdout.readline() == "dialled\n"
            assert f"{endpoint}:5353" in pod.run("ss", "--no-header", "-un")
            plane.request("PATCH", f"{_SLICES}/resolver-1", {"endpoints": []})
            until("nothing is dialled any more", lambda: not pod.run("ss", "--no-header", "-un"))
            assert client.stdout.readline() == "told\n"
        finally:
            client.kill()
            client.communicate()


def _service(plane: ControlPlane, endpoint: str) -> str:
    """A Service of one endpoint; its address."""
    ports = [{"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"}]
    service = {"metadata": {"name": "resolver"}, "spec": {"ports": ports}}
    made = plane.request("POST", "/api/v1/namespaces/default/services", service)
    labels = {"kubernetes.io/service-name": "resolver"}
    slice_ = {
        "metadata": {"name": "resolver-1", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [endpoint]}],
        "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}],
    }
    plane.request("POST", _SLICES, slice_)
    return str(made["spec"]["clusterIP"])


def _client(pod: Netns, cgroup: Path, vip: str) -> subprocess.Popen[str]:
    """A program of the pod's that dials once and waits; its packets vanish."""
    pod.ip(
        [
            "link add away type veth peer name nowhere",
            "link set nowhere up",
            "link set away up arp off",
            "address add 10.244.1.9/32 dev away",
            "route add default dev away src 10.244.1.9",
        ]
    )
    program = (
        "import os, socket\n"
        f"open('{cgroup}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        f"made.connect(('{vip}', 53))\n"
        "print('dialled', flush=True)\n"
        "try: made.recv(10)\n"
        "except ConnectionAbortedError: print('told', flush=True)\n"
    )
    return pod.popen("python3", "-c", program)


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
        until("the agent gives up", lambda: running.process.poll() is not None)
        assert running.process.returncode != 0
    assert "ermi" in running.log.read_text()  # permission denied, not permitted


def _links(netns: Netns) -> list[str]:
    return [each["ifname"] for each in json.loads(netns.run("ip", "-json", "link"))]


def _megabytes(folder: Path) -> float:
    done = subprocess.run(["du", "-sxb", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) / 1e6
