"""One problem is one event: told once, counted seldom, the same from every node."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from podwire_core.errors import ObjectError
from podwire_core.feed.api_server import ApiError
from podwire_node.reports.events import (
    MAX_MESSAGE,
    REPEAT_S,
    RETELL_S,
    ObjectEvent,
    Occurrences,
    Regarding,
)

BAD = ObjectError("https://api", "Service shop/api", "spec.ports[0].port", "Expected `int` >= 1")
WORSE = ObjectError("https://api", "Node n2", "spec.podCIDRs", "10.0.0.0/8 overlaps")
NAMELESS = ObjectError("/objects/x.yaml", "", "", "is not YAML")


# ------------------------------------------------------------------- what is worth telling


def test_a_problem_is_told_when_it_comes_and_not_while_it_stands() -> None:
    seen = Occurrences()
    assert seen.due([BAD, WORSE], 0) == [WORSE, BAD]
    assert seen.due([BAD, WORSE], 1) == []
    assert seen.due([WORSE], RETELL_S - 1) == []


def test_a_problem_that_stands_is_told_again_before_the_server_forgets_it() -> None:
    seen = Occurrences()
    assert seen.until is None
    told = [second for second in range(0, 3 * 3600, 60) if seen.due([BAD, NAMELESS], second)]
    assert told == [0, 2700, 5400, 8100]
    assert RETELL_S < 3600, "kube-apiserver --event-ttl"
    assert seen.until == 10_800
    assert seen.due([], 10_800) == []
    assert seen.until is None, "what is over wakes no one"


def test_each_problem_has_an_hour_of_its_own() -> None:
    seen = Occurrences()
    seen.due([BAD], 0)
    seen.due([BAD, WORSE], 1000)
    assert seen.until == 2700
    assert seen.due([BAD, WORSE], 2700) == [BAD]
    assert seen.until == 3700
    assert seen.due([WORSE], 3700) == [WORSE]
    assert seen.due([WORSE], 5400) == [], "the other one is over"


def test_a_problem_that_comes_and_goes_is_told_at_most_each_five_minutes() -> None:
    seen = Occurrences()
    told = []
    for second in range(0, 1000, 10):
        told += [second for _ in seen.due([BAD], second)]
        seen.due([], second + 5)
    assert told == [0, 300, 600, 900]
    assert REPEAT_S == 300


def test_a_problem_without_an_object_is_no_event() -> None:
    assert Occurrences().due([NAMELESS], 0) == []


def test_what_was_told_is_forgotten_oldest_first_and_not_kept_for_ever() -> None:
    seen = Occurrences(most=2)
    many = [ObjectError("", f"Node n{number}", "", "bad") for number in range(3)]
    for error in many:
        assert seen.due([error], 0) == [error]
    seen.due([], 1)
    assert seen.due([many[2]], 2) == []
    assert seen.due([many[0]], 3) == [many[0]]


@pytest.mark.parametrize(
    ("text", "regarding"),
    [
        ("Service shop/api", Regarding("Service", "shop", "api")),
        ("Node n1", Regarding("Node", "", "n1")),
        ("", None),
        ("Service without a name", None),
        ("Gateway shop/api", None),
        ("Node ", None),
    ],
)
def test_the_object_is_read_from_the_error(text: str, regarding: Regarding | None) -> None:
    assert Regarding.of(ObjectError("", text, "", "bad")) == regarding


# -------------------------------------------------------------------------- what is sent


class Reply:
    """Stands for api_server.Answer."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def body(self) -> bytes:
        return json.dumps(self._document).encode()

    def release(self) -> None:
        pass


class Server:
    """As much of an API server as events meet: objects by path, and refusals to come."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {
            "/api/v1/namespaces/shop/services/api": {"metadata": {"uid": "u1"}},
            "/api/v1/nodes/n2": {"metadata": {"uid": "u2"}},
        }
        self.sent: list[tuple[str, str]] = []
        self.refusals: dict[str, int] = {}

    def get(self, path: str, _query: Mapping[str, str]) -> Reply:
        self._refuse("GET", path)
        if path not in self.objects:
            raise ApiError(404, "not found")
        return Reply(self.objects[path])

    def send(self, method: str, path: str, body: Any = None, _kind: str = "") -> bytes:
        self._refuse(method, path)
        if method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                raise ApiError(409, "already exists")
            body["metadata"]["resourceVersion"] = "1"
            self.objects[path] = body
        else:
            known = self.objects[path]
            if body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"]:
                raise ApiError(409, "conflict")
            version = str(int(known["metadata"]["resourceVersion"]) + 1)
            known |= {**body, "metadata": {**known["metadata"], "resourceVersion": version}}
        self.sent.append((method, path))
        return b"{}"

    def _refuse(self, method: str, path: str) -> None:
        status = self.refusals.get(method)
        if status:
            raise ApiError(status, f"no {method} of {path}")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [each for path, each in self.objects.items() if "/events/" in path]


def tell(server: Server, error: ObjectError = BAD, now: float = 0, node: str = "n1") -> None:
    ObjectEvent(error, node, lambda: now).send(server)  # type: ignore[arg-type]  # a stand-in


def test_an_event_names_its_object_and_says_what_is_wrong() -> None:
    server = Server()
    tell(server)
    (event,) = server.events
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Service",
        "namespace": "shop",
        "name": "api",
        "uid": "u1",
    }
    assert event["message"] == "spec.ports[0].port: Expected `int` >= 1"
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "Unusable", 1)
    assert event["reportingInstance"] == "n1"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "1970-01-01T00:00:00Z"
    assert event["metadata"]["name"].startswith("api.")
    assert event["metadata"]["namespace"] == "shop"


def test_what_has_no_namespace_has_its_events_in_default() -> None:
    server = Server()
    tell(server, WORSE)
    (event,) = server.events
    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


def test_every_node_and_every_restart_means_the_same_event() -> None:
    server = Server()
    for node in ("n1", "n2", "n3"):
        for second in range(0, 299, 100):
            tell(server, now=second, node=node)
    (event,) = server.events
    assert event["count"] == 1
    assert server.sent == [("POST", f"{path}") for path in server.objects if "/events/" in path]


def test_it_is_counted_up_once_in_five_minutes_whoever_sees_it() -> None:
    server = Server()
    for second in (0, 299, 300, 301, 599, 600):
        tell(server, now=second)
    (event,) = server.events
    assert event["count"] == 3
    assert event["firstTimestamp"] == "1970-01-01T00:00:00Z"
    assert event["lastTimestamp"] == "1970-01-01T00:10:00Z"


def test_a_problem_told_again_is_the_event_that_is_there_or_one_anew() -> None:
    server = Server()
    tell(server)
    tell(server, now=RETELL_S)
    tell(server, now=RETELL_S + 60, node="n2")
    (event,) = server.events
    assert event["count"] == 2, "one node told it for all"
    server.objects = {path: each for path, each in server.objects.items() if "/events/" not in path}
    tell(server, now=2 * RETELL_S)
    assert server.events[0]["count"] == 1


def test_a_node_that_was_faster_is_as_good() -> None:
    server = Server()
    tell(server)
    server.refusals = {"PATCH": 409}
    tell(server, now=1000)
    assert server.events[0]["count"] == 1


def test_other_fields_reasons_and_objects_of_the_same_name_are_other_events() -> None:
    server = Server()
    tell(server)
    tell(server, ObjectError("", "Service shop/api", "spec.type", "Expected `int` >= 1"))
    tell(server, ObjectError("", "Service shop/api", "spec.ports[0].port", "other"))
    server.objects["/api/v1/namespaces/shop/services/api"] = {"metadata": {"uid": "made anew"}}
    tell(server)
    assert len(server.events) == 4


def test_an_object_that_is_gone_has_no_event() -> None:
    server = Server()
    tell(server, ObjectError("", "Pod shop/gone", "", "bad"))
    assert server.events == []


def test_without_leave_to_read_the_object_its_event_has_no_uid() -> None:
    server = Server()
    server.refusals = {"GET": 403}
    tell(server)
    assert "uid" not in server.events[0]["involvedObject"]


def test_a_refusal_of_the_event_is_the_senders() -> None:
    server = Server()
    server.refusals = {"POST": 403}
    with pytest.raises(ApiError):
        tell(server)


def test_names_and_messages_keep_to_their_limits() -> None:
    server = Server()
    name = "n" * 253
    server.objects[f"/api/v1/nodes/{name}"] = {"metadata": {"uid": "u"}}
    tell(server, ObjectError("", f"Node {name}", "f" * 5000, "r" * 5000))
    (event,) = server.events
    assert len(event["metadata"]["name"]) <= 253
    assert len(event["message"]) == MAX_MESSAGE
