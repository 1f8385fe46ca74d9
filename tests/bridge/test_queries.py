"""What there is and how it fares: services, tools, health, figures."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from mcp_platform import __version__
from mcp_platform.contracts.parts import PartState
from mcp_platform.names import TEMPORAL_PART
from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons, persons
from tests.gateway.conftest import Platform
from tests.waiting import eventually

NAMES = ["getPersonById", "getAllPersons", "fail", "refuse", "wait"]


async def test_services_are_shown_with_their_instances(caller: Caller, server: Persons) -> None:
    status, answer = await caller.ask("GET", "/mcp/bridge/services")
    assert (status, set(answer), answer["total"]) == (200, {"services", "total"}, 1)
    (service,) = answer["services"]
    assert service["serviceName"] == "mcp-server-v6"
    assert service["version"] == "1.0.0"
    assert service["tools"] == NAMES
    assert service["capabilities"] == {"tools": True, "resources": True, "prompts": False}
    (instance,) = service["instances"]
    assert set(instance) == {"instanceId", "ip", "port", "healthy", "weight", "metadata"}
    assert instance["instanceId"] == "mcp-server-v6-001"
    assert (instance["ip"], instance["port"]) == ("127.0.0.1", urlsplit(server.url).port)
    assert (instance["healthy"], instance["weight"]) == (True, 1.0)
    assert {"zone", "cluster"} <= set(instance["metadata"])
    assert all(isinstance(value, str) for value in instance["metadata"].values())
    assert await caller.ask("GET", "/mcp/bridge/services/mcp-server-v6") == (200, service)


async def test_a_service_that_there_is_not_is_not_found(shared: Caller) -> None:
    for path in ("services/absent", "health/absent", "tools?serviceName=absent"):
        status, answer = await shared.ask("GET", f"/mcp/bridge/{path}")
        assert (status, answer["error"]["code"]) == (404, "SERVICE_NOT_FOUND")
        assert answer["error"]["details"] == {"serviceName": "absent"}


async def test_tools_are_shown_with_their_schemas_by_service_and_category(
    platform: Platform, caller: Caller
) -> None:
    async with persons("another") as other:
        await platform.deploy("other", other.url)
        status, answer = await caller.ask("GET", "/mcp/bridge/tools")
        assert (status, set(answer)) == (200, {"tools"})
        assert len(answer["tools"]) == 2 * len(NAMES) + 1
        assert answer["tools"][0] == {
            "name": "getPersonById",
            "description": "Retrieve a specific person by their unique identifier",
            "serviceName": "mcp-server-v6",
            "category": "data-access",
            "inputSchema": {
                "type": "object",
                "properties": {"id": {"type": "integer", "description": "Unique person identifier"}},
                "required": ["id"],
            },
        }
        assert answer["tools"][1]["category"] == "general"

        async def names(query: str) -> list[tuple[str, str]]:
            _, answer = await caller.ask("GET", f"/mcp/bridge/tools?{query}")
            return [(tool["serviceName"], tool["name"]) for tool in answer["tools"]]

        assert await names("serviceName=other&category=general") == [
            ("other", name) for name in [*NAMES[1:], "another"]
        ]
        assert await names("category=data-access") == [
            ("mcp-server-v6", "getPersonById"),
            ("other", "getPersonById"),
        ]
        assert await names("category=none") == []


async def test_a_key_for_some_mcps_sees_and_calls_no_others(platform: Platform, caller: Caller) -> None:
    async with persons("another") as other:
        deployed = await platform.deploy("other", other.url)
        _, key = await platform.add_key(platform.user, mcp_ids=[deployed.mcp_id])
        bound = Caller(platform.url, key)
        _, services = await bound.ask("GET", "/mcp/bridge/services")
        assert [each["serviceName"] for each in services["services"]] == ["other"]
        _, tools = await bound.ask("GET", "/mcp/bridge/tools")
        assert {each["serviceName"] for each in tools["tools"]} == {"other"}
        for path in ("services/mcp-server-v6", "health/mcp-server-v6", "tools?serviceName=mcp-server-v6"):
            assert (await bound.ask("GET", f"/mcp/bridge/{path}"))[0] == 404
        _, answer = await bound.call("getPersonById", {"id": 1})
        assert answer["data"]["serviceInstance"].startswith("other:")
        rpc = {"id": 1, "method": "tools/list"}
        assert (await bound.ask("POST", "/mcp/bridge/route/mcp-server-v6", rpc))[0] == 404


async def test_the_health_of_a_service_names_its_instances(platform: Platform, caller: Caller) -> None:
    status, answer = await caller.ask("GET", "/mcp/bridge/health/mcp-server-v6")
    assert status == 200
    assert answer["status"] == "UP"
    assert (answer["totalInstances"], answer["healthyInstances"]) == (1, 1)
    assert answer["instances"] == [
        {"instanceId": "mcp-server-v6-001", "healthy": True, "state": "healthy", "reason": None}
    ]
    await platform.deploy("empty")
    _, answer = await caller.ask("GET", "/mcp/bridge/health/empty")
    assert (answer["status"], answer["totalInstances"], answer["healthyInstances"]) == ("DOWN", 1, 0)


async def test_the_health_of_the_platform_names_each_part_that_it_depends_on(
    platform: Platform, caller: Caller
) -> None:
    async def health() -> tuple[int, Any]:
        return await Caller(platform.url, "").ask("GET", "/actuator/health")

    await caller.call("getPersonById", {"id": 1})  # leaves an idle connection
    await platform.stores.parts.report(TEMPORAL_PART, PartState(healthy=True))

    def all_well(seen: tuple[int, Any]) -> bool:
        # What reads the server's tools beside the first call has a connection of its own.
        parts = seen[1]["components"]
        idle = parts["mcpBridge"]["details"]["activeConnections"] == 0
        return seen[0] == 200 and parts["temporal"]["status"] == "UP" and idle

    status, answer = await eventually(health, all_well)
    assert (status, set(answer), answer["status"]) == (200, {"status", "components"}, "UP")
    assert set(answer["components"]) == {"database", "documents", "cache", "temporal", "mcpBridge"}
    assert all(set(part) == {"status", "details"} for part in answer["components"].values())
    bridge = answer["components"]["mcpBridge"]["details"]
    assert (bridge["registeredServices"], bridge["healthyServices"]) == (1, 1)
    assert bridge["activeConnections"] == 0
    await platform.stores.parts.report(TEMPORAL_PART, PartState(healthy=False, detail="away"))
    status, answer = await eventually(
        health, lambda seen: seen[1]["components"]["temporal"]["status"] == "DOWN"
    )
    assert (status, answer["status"]) == (503, "DOWN")


async def test_the_figures_count_what_was_called(caller: Caller) -> None:
    for _ in range(3):
        await caller.call("getPersonById", {"id": 1})
    await caller.call("fail")
    status, stats = await caller.ask("GET", "/mcp/bridge/stats")
    assert status == 200
    assert set(stats) == {"system", "requests", "performance", "services", "connections"}
    assert set(stats["system"]) == {"status", "version", "uptime", "startTime"}
    assert (stats["system"]["status"], stats["system"]["version"]) == ("RUNNING", f"v{__version__}")
    assert re.fullmatch(r"\d+d \d+h \d+m", stats["system"]["uptime"])
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", stats["system"]["startTime"])
    assert stats["requests"] == {"total": 4, "success": 3, "failed": 1, "successRate": 75.0}
    performance = stats["performance"]
    assert set(performance) == {"avgResponseTime", "p95ResponseTime", "p99ResponseTime", "activeRequests"}
    assert 0 < performance["avgResponseTime"] <= performance["p99ResponseTime"] * 1.2
    assert performance["activeRequests"] == 0
    assert stats["services"] == {"registered": 1, "healthy": 1, "unhealthy": 0}
    connections = stats["connections"]
    assert set(connections) == {"active", "idle", "total", "maxPoolSize"}
    assert connections["active"] + connections["idle"] == connections["total"]
    assert connections["maxPoolSize"] == 1000
    _, shown = await caller.ask("GET", "/mcp/bridge/connections/status")
    assert set(shown) == {"connections", "gateways"}
    assert len(shown["gateways"]) == 1


@pytest.mark.parametrize("window", ["1h", "6h", "24h", "7d"])
async def test_tools_are_counted_within_a_time_range(caller: Caller, window: str) -> None:
    for number in range(3):
        await caller.call("getPersonById", {"id": number})
    await caller.call("fail")
    status, answer = await caller.ask("GET", f"/mcp/bridge/metrics/tools?timeRange={window}")
    assert (status, answer["timeRange"], answer["total"]) == (200, window, 2)
    first = answer["tools"][0]
    assert (first["toolName"], first["serviceName"]) == ("getPersonById", "mcp-server-v6")
    assert (first["total"], first["success"], first["failed"], first["successRate"]) == (3, 3, 0, 100.0)
    assert first["avgResponseTime"] > 0
    assert 0 < first["p50ResponseTime"] <= first["p95ResponseTime"] <= first["p99ResponseTime"]
    path = f"/mcp/bridge/metrics/tools?timeRange={window}&toolName=fail"
    _, answer = await caller.ask("GET", path)
    assert [(each["toolName"], each["failed"]) for each in answer["tools"]] == [("fail", 1)]


async def test_a_time_range_that_there_is_not_is_refused(shared: Caller) -> None:
    status, answer = await shared.ask("GET", "/mcp/bridge/metrics/tools?timeRange=5m")
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")
    assert answer["error"]["details"] == {"field": "timeRange"}


async def test_load_balancing_shows_how_each_instance_fares(caller: Caller) -> None:
    for _ in range(4):
        await caller.call("getPersonById", {"id": 1})
    status, answer = await caller.ask("GET", "/mcp/bridge/metrics/loadbalancing")
    assert (status, answer["algorithm"]) == (200, "WEIGHTED_ROUND_ROBIN")
    (service,) = answer["services"]
    assert (service["serviceName"], service["algorithm"]) == ("mcp-server-v6", "WEIGHTED_ROUND_ROBIN")
    (instance,) = service["instances"]
    assert (instance["instanceId"], instance["state"], instance["weight"]) == (
        "mcp-server-v6-001",
        "ready",
        1.0,
    )
    assert instance["calls"] >= 4
    assert (instance["errorRate"], instance["activeRequests"]) == (0.0, 0)
    assert instance["avgResponseTime"] > 0
