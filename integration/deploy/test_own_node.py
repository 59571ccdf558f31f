"""An agent's token writes the conditions of its own Node, and nothing else of any Node."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import account
import pytest
from control_plane import ControlPlane
from scratch import until

OWN, OTHER = "node1", "node2"
CONDITIONS = [{"type": "NetworkUnavailable", "status": "False", "reason": "Test"}]
ADDRESSES = [{"type": "InternalIP", "address": "192.168.90.66"}]


@dataclass(frozen=True)
class Agent:
    """Whoever holds this token."""

    plane: ControlPlane
    token: str

    def patch(self, node: str, **change: Any) -> str:
        """Change a Node's status; why it is refused, "" when it is taken."""
        path = f"/api/v1/nodes/{node}/status"
        try:
            self.plane.request("PATCH", path, change, token=self.token)
        except urllib.error.HTTPError as error:
            return f"{error.code}: {json.load(error)['message']}"
        return ""


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with account.audited(tmp_path_factory.mktemp("plane")) as made:
        for node in (OWN, OTHER):
            made.request("POST", "/api/v1/nodes", {"metadata": {"name": node}})
            status = {"addresses": [{"type": "InternalIP", "address": "192.168.90.1"}]}
            made.request("PATCH", f"/api/v1/nodes/{node}/status", {"status": status})
        account.grant(made, "all")
        yield made


@pytest.fixture(scope="module")
def agent(plane: ControlPlane) -> Agent:
    """The agent of OWN, when the policy is in force."""
    made = Agent(plane, account.token(plane, OWN))
    # A server takes a policy up within a second or so, and tells nobody when.
    until("the policy is in force", lambda: bool(made.patch(OTHER, status={})))
    return made


def test_conditions_of_its_own_node_it_may_write(agent: Agent) -> None:
    assert agent.patch(OWN, status={"conditions": CONDITIONS}) == ""


def test_another_node_it_may_not_touch(agent: Agent) -> None:
    refusal = agent.patch(OTHER, status={"conditions": CONDITIONS})
    assert refusal.startswith("403")
    assert "its own Node alone" in refusal


@pytest.mark.parametrize(
    "status",
    [
        {"addresses": ADDRESSES},
        {"addresses": None},
        {"addresses": ADDRESSES, "conditions": CONDITIONS},
        {"capacity": {"cpu": "1000"}},
    ],
    ids=["another address", "no address", "an address beside conditions", "a field that was not"],
)
def test_of_its_own_status_it_may_write_conditions_alone(
    agent: Agent, status: dict[str, Any]
) -> None:
    refusal = agent.patch(OWN, status=status)
    assert refusal.startswith("403")
    assert "but conditions" in refusal


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_its_node_s_metadata_it_may_not_write(agent: Agent, field: str) -> None:
    refusal = agent.patch(OWN, metadata={field: {"a": "b"}}, status={"conditions": CONDITIONS})
    assert refusal.startswith("403")
    assert "metadata" in refusal


def test_a_token_of_no_pod_may_write_no_node(agent: Agent) -> None:
    unbound = Agent(agent.plane, account.token(agent.plane, ""))
    assert "its own Node alone" in unbound.patch(OWN, status={"conditions": CONDITIONS})


def test_others_write_as_before(agent: Agent) -> None:
    path = f"/api/v1/nodes/{OTHER}/status"
    agent.plane.request("PATCH", path, {"status": {"addresses": ADDRESSES}})
