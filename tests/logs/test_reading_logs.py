"""`GET /api/v1/deployments/{id}/logs`: who may read what."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from mcp_platform.contracts.deployments import replica_id
from mcp_platform.contracts.logs import LogLine, Stream
from tests.logs.books import line, lines
from tests.logs.conftest import Written
from tests.platform import RunningPlatform


async def read(deployed: Written, **asked: Any) -> list[str]:
    """Read the log, and give the texts."""
    answer = await deployed.caller.get(deployed.path, params=asked)
    assert answer.status_code == 200, answer.text
    return [each["text"] for each in answer.json()["lines"]]


async def test_lines_come_with_all_that_is_known_of_them(deployed: Written) -> None:
    await deployed.write([line(1, "WARNING: slow")], ordinal=3, revision=2)
    answer = await deployed.caller.get(deployed.path)
    assert answer.json() == {
        "deployment_id": str(deployed.id),
        "lines": [
            {
                "at": "2026-01-15T10:30:00.001000Z",
                "replica": str(replica_id(deployed.id, 3, 2)),
                "ordinal": 3,
                "revision": 2,
                "stream": "stderr",
                "level": "warning",
                "text": "WARNING: slow",
            }
        ],
        "truncated": False,
        "next": None,
    }


async def test_filters_narrow_the_answer(deployed: Written) -> None:
    await deployed.write([line(0, "INFO alpha"), line(2, "ERROR beta")])
    await deployed.write([line(1, "ERROR gamma")], ordinal=1)
    assert await read(deployed) == ["INFO alpha", "ERROR gamma", "ERROR beta"]
    assert await read(deployed, replica=1) == ["ERROR gamma"]
    assert await read(deployed, replica=str(replica_id(deployed.id, 0, 1)), level="error") == ["ERROR beta"]
    assert await read(deployed, search="ALPHA") == ["INFO alpha"]
    assert await read(deployed, since="2026-01-15T10:30:00.001Z") == ["ERROR gamma", "ERROR beta"]
    assert await read(deployed, until="2026-01-15T10:30:00.001Z") == ["INFO alpha", "ERROR gamma"]
    assert await read(deployed, since="15m") == []
    await deployed.write([LogLine(datetime.now(UTC) - timedelta(minutes=1), Stream.STDOUT, "new")])
    assert await read(deployed, since="15m") == ["new"]
    assert await read(deployed, since="30s") == []


async def test_pages_lead_back_to_the_first_line(deployed: Written) -> None:
    await deployed.write(lines(0, 25))
    seen: list[str] = []
    asked: dict[str, Any] = {"limit": 10}
    while True:
        answer = (await deployed.caller.get(deployed.path, params=asked)).json()
        seen = [each["text"] for each in answer["lines"]] + seen
        assert answer["truncated"] is (answer["next"] is not None)
        if answer["next"] is None:
            break
        asked["cursor"] = answer["next"]
    assert seen == [f"line {number}" for number in range(25)]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"replica": "first"}, "neither a replica's ordinal"),
        ({"since": "yesterday"}, "neither a point in time"),
        ({"until": "15 minutes"}, "neither a point in time"),
        ({"level": "loud"}, "'debug', 'info', 'warning' or 'error'"),
        ({"limit": "5001"}, "5000"),
        ({"search": ""}, "at least 1 character"),
        ({"cursor": "x"}, "is no cursor"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_named(
    deployed: Written, asked: dict[str, str], said: str
) -> None:
    answer = await deployed.caller.get(deployed.path, params=asked)
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["query", *asked]
    assert said in problem["msg"]


@pytest.mark.parametrize("tail", ["", "/stream"])
async def test_whoever_may_not_know_of_the_deployment_reads_nothing(
    platform: RunningPlatform, deployed: Written, tail: str
) -> None:
    assert (await platform.caller().get(deployed.path + tail)).status_code == 401
    other = await deployed.caller.register_mcp(
        {"servers": [{"name": "other", "url": "http://127.0.0.1:9/mcp"}]}
    )
    for allowed, status in ((deployed.tool_id, 200), (other["id"], 404)):
        order = {"name": "limited", "scopes": ["deployments:read"], "mcp_ids": [allowed]}
        key = (await deployed.caller.post("/api/v1/auth/api-keys", json=order)).json()["key"]
        limited = platform.caller()
        limited.headers["X-API-Key"] = key
        if status == 404 or not tail:
            assert (await limited.get(deployed.path + tail)).status_code == status
    answer = await deployed.caller.get(f"/api/v1/deployments/{uuid4()}/logs{tail}")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "NOT_FOUND")


async def test_a_key_without_the_permission_reads_nothing(
    platform: RunningPlatform, deployed: Written
) -> None:
    order = {"name": "blind", "scopes": ["tasks:read"]}
    key = (await deployed.caller.post("/api/v1/auth/api-keys", json=order)).json()["key"]
    blind = platform.caller()
    blind.headers["X-API-Key"] = key
    answer = await blind.get(deployed.path)
    assert (answer.status_code, answer.json()["required_permission"]) == (403, "deployments:read")
