"""The bodies and codes of health checks are kube-proxy's, byte for byte."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest

from podwire_core.objects import ObjectName
from podwire_node.metrics import Metrics
from podwire_node.web.answer import Asked
from podwire_node.web.health import TIMEOUT_S, HealthState
from podwire_node.web.moment import Moment, clock
from podwire_node.web.pages import (
    health_pages,
    healthz,
    livez,
    metrics_pages,
    service_page,
)

SECOND = 10**9
NAME = ObjectName("ns", "svc")


class Clock:
    """Stands at 2026-01-31 12:00:00.25 until it is moved."""

    def __init__(self) -> None:
        self.moment = Moment(1_769_860_800 * SECOND + SECOND // 4, SECOND)

    def __call__(self) -> Moment:
        return self.moment

    def pass_by(self, seconds: float) -> None:
        step = int(seconds * SECOND)
        self.moment = Moment(self.moment.wall + step, self.moment.monotonic + step)


@pytest.fixture
def time() -> Clock:
    return Clock()


@pytest.fixture
def state(time: Clock) -> HealthState:
    return HealthState(time)


# ---------------------------------------------------------------------- a Service's port


def test_a_service_with_endpoints_here_is_healthy() -> None:
    answer = service_page(NAME, 3, proxy_healthy=True)
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert answer.headers == (("X-Load-Balancing-Endpoint-Weight", "3"),)
    assert answer.body == (
        b'{\n\t"service": {\n\t\t"namespace": "ns",\n\t\t"name": "svc"\n\t},\n'
        b'\t"localEndpoints": 3,\n\t"serviceProxyHealthy": true\n}'
    )


@pytest.mark.parametrize(("endpoints", "healthy"), [(0, True), (0, False), (2, False)])
def test_a_service_without_endpoints_or_without_a_proxy_is_not(
    endpoints: int,
    healthy: bool,
) -> None:
    answer = service_page(NAME, endpoints, proxy_healthy=healthy)
    assert answer.status == 503
    assert json.loads(answer.body) == {
        "service": {"namespace": "ns", "name": "svc"},
        "localEndpoints": endpoints,
        "serviceProxyHealthy": healthy,
    }


# --------------------------------------------------------------------- the proxy's own


def test_a_healthy_answer_says_now_twice(state: HealthState, time: Clock) -> None:
    state.updated()
    time.pass_by(100)
    now = "2026-01-31 12:01:40.25 +0000 UTC m=+101.000000000"
    times = f'"lastUpdated": "{now}","currentTime": "{now}"'
    assert healthz(state.current).body.decode() == f'{{{times}, "nodeEligible": true}}'
    assert livez(state.current).body.decode() == f"{{{times}}}"


def test_an_unhealthy_answer_says_when_the_last_sync_was(state: HealthState, time: Clock) -> None:
    state.updated()
    state.queued()
    time.pass_by(60)
    body = json.loads(livez(state.current).body)
    assert body["lastUpdated"] == "2026-01-31 12:00:00.25 +0000 UTC m=+1.000000000"
    assert body["currentTime"] == "2026-01-31 12:01:00.25 +0000 UTC m=+61.000000000"


def test_a_change_that_waits_for_a_minute_is_unhealthy(state: HealthState, time: Clock) -> None:
    state.updated()
    state.queued()
    time.pass_by(TIMEOUT_S - 0.001)
    state.queued()  # the oldest counts
    assert healthz(state.current).status == livez(state.current).status == 200
    time.pass_by(0.001)
    assert healthz(state.current).status == livez(state.current).status == 503
    state.updated()
    assert healthz(state.current).status == livez(state.current).status == 200


def test_nothing_to_do_is_healthy_for_ever(state: HealthState, time: Clock) -> None:
    state.updated()
    time.pass_by(1e6)
    assert state.current.healthy


def test_starting_up_is_healthy(state: HealthState, time: Clock) -> None:
    state.queued()
    time.pass_by(1e6)
    assert state.current.healthy


def test_a_wall_clock_that_jumps_makes_no_one_unhealthy(state: HealthState, time: Clock) -> None:
    state.updated()
    state.queued()
    time.moment = Moment(time.moment.wall + 10**6 * SECOND, time.moment.monotonic)
    assert state.current.healthy


def test_a_node_that_goes_fails_healthz_and_not_livez(state: HealthState) -> None:
    state.updated()
    state.node(eligible=False)
    answer = healthz(state.current)
    assert answer.status == 503
    assert answer.body.endswith(b', "nodeEligible": false}')
    assert livez(state.current).status == 200
    state.node(eligible=True)
    assert healthz(state.current).status == 200


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (Moment(0, 0), "1970-01-01 00:00:00 +0000 UTC m=+0.000000000"),
        (Moment(120_000_000, 5), "1970-01-01 00:00:00.12 +0000 UTC m=+0.000000005"),
        (Moment(1, 12 * SECOND), "1970-01-01 00:00:00.000000001 +0000 UTC m=+12.000000000"),
    ],
    ids=["no fraction", "no zeros at its end", "nanoseconds"],
)
def test_moments_are_spelled_as_go_does(moment: Moment, text: str) -> None:
    assert moment.go == text


def test_a_clock_goes_forward() -> None:
    now = clock()
    assert 0 <= now().monotonic <= now().monotonic < 60 * SECOND


# -------------------------------------------------------------------------- what is where


def test_every_answer_of_health_is_counted(state: HealthState) -> None:
    metrics = Metrics()
    page = health_pages(state, metrics)
    state.node(eligible=False)
    for path in ("/healthz", "/livez", "/livez", "/other"):
        page(Asked("POST", path))
    text = metrics.text().decode()
    assert 'kubeproxy_proxy_healthz_total{code="503"} 1.0' in text
    assert 'kubeproxy_proxy_livez_total{code="200"} 2.0' in text
    assert page(Asked("GET", "/healthz/")).status == HTTPStatus.NOT_FOUND


def test_the_metrics_site_has_four_pages() -> None:
    page = metrics_pages(
        Metrics(), lambda: "nftables", {"proxyMode": "nftables", "cidrs": ("a", "b")}
    )
    assert page(Asked("GET", "/healthz")).body == b"ok"
    assert page(Asked("GET", "/proxyMode")).body == b"nftables"
    assert page(Asked("GET", "/configz")).body == b'{"proxyMode":"nftables","cidrs":["a","b"]}'
    assert page(Asked("GET", "/metrics")).content_type.startswith("text/plain; version=0.0.4")
    assert page(Asked("GET", "/")).status == HTTPStatus.NOT_FOUND


def test_the_metrics_site_is_only_read() -> None:
    page = metrics_pages(Metrics(), lambda: "nftables", {})
    assert page(Asked("HEAD", "/metrics")).status == HTTPStatus.OK
    refused = page(Asked("POST", "/metrics"))
    assert (refused.status, refused.headers) == (405, (("Allow", "GET, HEAD"),))
