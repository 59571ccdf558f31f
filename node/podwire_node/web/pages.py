"""What is answered where: the bodies and codes of kube-proxy.

    site             path         answer
    a Service's      any          200 with endpoints here while the proxy is well, else 503
    healthz          /healthz     200 while the proxy is well and its node eligible, else 503
                     /livez       200 while the proxy is well, else 503
    metrics          /metrics     Prometheus' text format
                     /healthz     ok
                     /proxyMode   nftables or ebpf: what answers at sockets now
                     /configz     the configuration in force, JSON

The metrics site answers GET and HEAD alone; the others any method, as kube-proxy's do.

A healthy answer's lastUpdated is now, an unhealthy one's the last sync: in old versions it told
when the loop ran last, and readers still judge by its age.

Sources: kube-proxy, pkg/proxy/healthcheck and cmd/kube-proxy/app/server.go; the health bodies are
those of the versions that print Go times.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus

import msgspec

from podwire_core.objects import ObjectName
from podwire_node.metrics import CONTENT_TYPE, Metrics
from podwire_node.web.answer import JSON, NOT_FOUND, Answer, Asked, Handler, refusal
from podwire_node.web.health import Health, HealthState
from podwire_node.web.moment import NEVER

_SERVICE = """{
\t"service": {
\t\t"namespace": %s,
\t\t"name": %s
\t},
\t"localEndpoints": %d,
\t"serviceProxyHealthy": %s
}"""


def service_page(name: ObjectName, local_endpoints: int, *, proxy_healthy: bool) -> Answer:
    """A Service's health check. The weight is for load balancers that spread by it."""
    body = _SERVICE % (
        json.dumps(name.namespace),
        json.dumps(name.name),
        local_endpoints,
        _bool(proxy_healthy),
    )
    weight = ("X-Load-Balancing-Endpoint-Weight", str(local_endpoints))
    healthy = local_endpoints != 0 and proxy_healthy
    return Answer(_status(healthy), body.encode(), JSON, (weight,))


def healthz(health: Health) -> Answer:
    """The proxy's own, for load balancers."""
    healthy = health.healthy and health.node_eligible
    body = f'{{{_times(health, healthy)}, "nodeEligible": {_bool(health.node_eligible)}}}'
    return Answer(_status(healthy), body.encode(), JSON)


def livez(health: Health) -> Answer:
    """The proxy's own, for who would restart it: the node's fate is not its fault."""
    body = f"{{{_times(health, health.healthy)}}}"
    return Answer(_status(health.healthy), body.encode(), JSON)


def health_pages(health: HealthState, metrics: Metrics) -> Handler:
    """The healthz site; each answer is counted."""

    def answer(asked: Asked) -> Answer:
        if asked.path == "/healthz":
            found = healthz(health.current)
            metrics.healthz(found.status)
        elif asked.path == "/livez":
            found = livez(health.current)
            metrics.livez(found.status)
        else:
            found = NOT_FOUND
        return found

    return answer


def metrics_pages(
    metrics: Metrics, mode: Callable[[], str], config: Mapping[str, object]
) -> Handler:
    """The metrics site. config: what /configz shows, as msgspec encodes it."""
    pages: dict[str, Callable[[], Answer]] = {
        "/metrics": lambda: Answer(HTTPStatus.OK, metrics.text(), CONTENT_TYPE),
        "/healthz": lambda: Answer(HTTPStatus.OK, b"ok"),
        "/proxyMode": lambda: Answer(HTTPStatus.OK, mode().encode()),
        "/configz": lambda: Answer(HTTPStatus.OK, msgspec.json.encode(config), JSON),
    }

    def answer(asked: Asked) -> Answer:
        page = pages.get(asked.path)
        if page is None:
            return NOT_FOUND
        if asked.method not in {"GET", "HEAD"}:
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, ("Allow", "GET, HEAD"))
        return page()

    return answer


def _times(health: Health, healthy: bool) -> str:  # noqa: FBT001 - the one thing it turns on
    last = health.now if healthy else health.last_updated
    return f'"lastUpdated": "{last.go if last else NEVER}","currentTime": "{health.now.go}"'


def _status(healthy: bool) -> HTTPStatus:  # noqa: FBT001 - the one thing it turns on
    return HTTPStatus.OK if healthy else HTTPStatus.SERVICE_UNAVAILABLE


def _bool(value: bool) -> str:  # noqa: FBT001 - the one thing it turns on
    return "true" if value else "false"
