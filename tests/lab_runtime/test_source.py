"""Reports reach their folder, and pods' accounts reach theirs, whatever fails in between."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from podwire_core.feed.api_server import ApiError
from podwire_core.objects import ObjectName
from podwire_lab.kubelet import source
from podwire_lab.kubelet.accounts import MOUNTED_AT, ServiceAccounts
from podwire_lab.kubelet.container import Clock
from podwire_lab.kubelet.requests import Requests
from podwire_lab.kubelet.source import ReportFiles
from podwire_lab.report import Phase, PodReport
from podwire_lab.workloads import LabPod

WEB = ObjectName("shop", "web")
REPORT = PodReport("shop", "web", "u1", Phase.RUNNING)


def test_a_report_is_written_read_and_taken_away(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path)
    files.tell(WEB, REPORT)
    assert list(files.read()) == [REPORT]
    files.tell(WEB, None)
    files.tell(WEB, None)
    assert list(files.read()) == []


def test_a_name_that_no_file_can_have_is_gone_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        ReportFiles(tmp_path).tell(ObjectName("shop", "x" * 253), None)

    asyncio.run(run())
    assert caplog.text == "", "else it would be tried again every second"


def test_an_unreadable_report_hides_no_other(tmp_path: Path) -> None:
    files = ReportFiles(tmp_path)
    (tmp_path / "a.broken.json").write_text("{")
    files.tell(WEB, REPORT)
    assert list(files.read()) == [REPORT]


def test_a_report_of_an_earlier_version_is_still_read(tmp_path: Path) -> None:
    old = {"namespace": "shop", "name": "web", "uid": "u1", "containers": [{"name": "main"}]}
    (tmp_path / "shop.web.json").write_bytes(msgspec.json.encode(old))
    (report,) = ReportFiles(tmp_path).read()
    assert (report.containers[0].last, report.init_containers) == (None, ())


def test_a_report_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "_RETRY", 0.01)
    (tmp_path / "shop.web.json").mkdir()  # a folder where the file belongs

    async def run() -> None:
        files = ReportFiles(tmp_path)
        files.tell(WEB, PodReport("shop", "web", "u1"))
        files.tell(WEB, REPORT)
        (tmp_path / "shop.web.json").rmdir()
        for _ in range(100):
            if (tmp_path / "shop.web.json").is_file():
                break
            await asyncio.sleep(0.01)
        assert list(files.read()) == [REPORT]

    asyncio.run(run())


# ---------------------------------------------------------------------------- their accounts


class Server:
    def __init__(self, *failures: ApiError) -> None:
        self.failures = list(failures)
        self.asked: list[tuple[str, Any]] = []

    def send(self, method: str, path: str, body: Any = None, kind: str = "") -> bytes:
        assert (method, kind) == ("POST", "application/json")
        if self.failures:
            raise self.failures.pop(0)
        self.asked.append((path, body))
        return msgspec.json.encode({"status": {"token": f"token-{len(self.asked)}"}})


def pod(*mounts: str) -> LabPod:
    main = {"name": "main", "volumeMounts": [{"mountPath": path} for path in mounts]}
    row = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {"containers": [main], "serviceAccountName": "seller"},
    }
    return msgspec.convert(row, LabPod)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    (tmp_path / "ca.crt").write_text("certificate")
    return tmp_path / "ca.crt"


def accounts(server: Server, authority: Path, clock: Clock | None = None) -> ServiceAccounts:
    return ServiceAccounts(Requests(server), authority, clock or Clock())


def test_a_token_is_bound_to_its_pod(tmp_path: Path, authority: Path) -> None:
    server, folder = Server(), tmp_path / "account"
    asyncio.run(accounts(server, authority).give(pod(MOUNTED_AT), folder))
    ((path, body),) = server.asked
    assert path == "/api/v1/namespaces/shop/serviceaccounts/seller/token"
    assert body["spec"]["boundObjectRef"]["uid"] == "u1"
    found = {file.name: file.read_text() for file in folder.iterdir()}
    assert found == {"token": "token-1", "ca.crt": "certificate", "namespace": "shop"}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_a_pod_that_mounts_none_is_given_none(tmp_path: Path, authority: Path) -> None:
    server = Server()
    asyncio.run(accounts(server, authority).give(pod("/data"), tmp_path / "account"))
    assert server.asked == []


def test_a_refused_token_is_an_error_that_names_the_account(
    tmp_path: Path, authority: Path
) -> None:
    server = Server(ApiError(404, "no such account"))
    with pytest.raises(OSError, match="no token for ServiceAccount seller: 404"):
        asyncio.run(accounts(server, authority).give(pod(MOUNTED_AT), tmp_path / "account"))


def test_an_old_token_is_replaced_and_a_failure_leaves_the_old_one(
    tmp_path: Path, authority: Path
) -> None:
    folder, looks = tmp_path / "account", 0

    class Looks(Clock):
        async def sleep(self, _: float) -> None:
            nonlocal looks
            looks += 1
            if looks > 3:
                raise asyncio.CancelledError
            await asyncio.sleep(0)

    server = Server()

    async def run() -> None:
        given = accounts(server, authority, Looks())
        await given.give(pod(MOUNTED_AT), folder)
        os.utime(folder / "token", (0, 0))
        server.failures = [ApiError(0, "away")]
        await given.keep_fresh(lambda: [(pod(MOUNTED_AT), folder)])

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert (folder / "token").read_text() == "token-2"
    assert len(server.asked) == 2


def test_an_answer_that_is_no_object_is_no_answer() -> None:
    class Garbled:
        def send(self, method: str, path: str, body: object = None, kind: str = "") -> bytes:
            return f"{method} {path} {body} {kind}".encode()

    async def run() -> None:
        requests = Requests(Garbled())
        try:
            await requests.send("GET", "/api/v1/pods")
        finally:
            requests.close()

    with pytest.raises(ApiError, match="/api/v1/pods: the answer is no object"):
        asyncio.run(run())
