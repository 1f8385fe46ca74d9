"""What administrators change while everything runs."""

import asyncio
from typing import Any
from unittest.mock import Mock

import pytest

from mcp_platform.contracts.audit import AuditFilter
from mcp_platform.security.sealing import CannotUnseal
from storage.sql.audit import AuditLog
from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons, persons
from tests.gateway.conftest import Platform
from tests.waiting import eventually

CONFIG = "/mcp/bridge/config"
INSTANCES = "/mcp/bridge/admin/services/mcp-server-v6/instances"


async def counts(caller: Caller, *servers: Persons, calls: int = 12) -> list[int]:
    """Make calls, and count how many each server got of them."""
    before = [len(server.calls) for server in servers]
    for number in range(calls):
        status, _ = await caller.call("getPersonById", {"id": number})
        assert status == 200
    return [len(server.calls) - known for server, known in zip(servers, before, strict=True)]


async def all_quiet(platform: Platform, busy: int = 0) -> None:
    """Wait until no more connections than these carry anything: tools are read beside the first call."""
    http = platform.gateway._opener.http
    (upstream,) = platform.gateway._routes.find("mcp-server-v6").upstreams

    async def quiet() -> bool:
        return upstream.repeatable("wait") is not None and http.open - http.idle == busy

    await eventually(quiet)


async def actions(platform: Platform) -> list[tuple[str, str, dict[str, Any]]]:
    """Read what the audit log says of the gateway."""
    async with platform.stores.read() as rows:
        found = await rows.audit.newest(AuditFilter(action="gateway"), None, 100)
    return [(entry.action, entry.actor_name, entry.details) for entry in reversed(found)]


async def test_the_configuration_is_changed_at_once_and_only_where_it_is_named(
    platform: Platform, caller: Caller, admin: Caller
) -> None:
    status, known = await caller.ask("GET", CONFIG)
    assert (status, known) == (
        200,
        {
            "loadBalancer": {"algorithm": "WEIGHTED_ROUND_ROBIN", "healthCheckInterval": 5},
            "connectionPool": {"maxConnections": 1000, "connectionTimeout": 5000},
        },
    )
    change = {
        "loadBalancer": {"algorithm": "LEAST_CONNECTIONS", "healthCheckInterval": 30},
        "connectionPool": {"maxConnections": 50},
    }
    status, changed = await admin.ask("PUT", CONFIG, change)
    assert (status, changed) == (
        200,
        {
            "loadBalancer": {"algorithm": "LEAST_CONNECTIONS", "healthCheckInterval": 30},
            "connectionPool": {"maxConnections": 50, "connectionTimeout": 5000},
        },
    )
    assert await caller.ask("GET", CONFIG) == (200, changed)
    _, balancing = await caller.ask("GET", "/mcp/bridge/metrics/loadbalancing")
    assert balancing["algorithm"] == balancing["services"][0]["algorithm"] == "LEAST_CONNECTIONS"
    _, stats = await caller.ask("GET", "/mcp/bridge/stats")
    assert stats["connections"]["maxPoolSize"] == 50
    status, changed = await admin.ask("PUT", CONFIG, {"connectionPool": {"connectionTimeout": 1500}})
    assert (changed["connectionPool"]["connectionTimeout"], status) == (1500, 200)
    assert changed["loadBalancer"] == {"algorithm": "LEAST_CONNECTIONS", "healthCheckInterval": 30}
    assert platform.gateway._opener.limits.connect_timeout == 1.5
    (first, who, details), _ = await actions(platform)
    assert (first, details["changed"]) == ("gateway.change_config", change)
    assert who.startswith("user-")


async def test_who_may_not_change_anything_is_in_the_audit_log(platform: Platform, caller: Caller) -> None:
    stranger = Caller(platform.url, "")
    for who, denied in ((caller, 403), (stranger, 401), (stranger, 401)):
        status, _ = await who.ask("PUT", CONFIG, {"connectionPool": {"maxConnections": 1}})
        assert status == denied
    await caller.ask("POST", f"{INSTANCES}/mcp-server-v6-001/offline")
    await stranger.ask("GET", CONFIG)  # would change nothing
    async with platform.stores.read() as rows:
        entries = (await rows.audit.newest(AuditFilter(action="gateway"), None, 100))[::-1]
    assert [(each.action, each.outcome, each.status, each.resource_id) for each in entries] == [
        ("gateway.change_config", "denied", 403, ""),
        ("gateway.change_config", "denied", 401, ""),
        ("gateway.take_offline", "denied", 403, "mcp-server-v6-001"),
    ]
    assert entries[0].actor_id == platform.user.id
    assert entries[0].details == {"error_code": "FORBIDDEN", "required_permission": "gateway:admin"}


async def test_what_the_audit_log_does_not_take_is_not_changed(
    platform: Platform, caller: Caller, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditLog, "open_key", Mock(side_effect=CannotUnseal("another key")))
    before = await admin.ask("GET", CONFIG)
    status, _ = await admin.ask("PUT", CONFIG, {"connectionPool": {"maxConnections": 1}})
    assert status == 500
    status, _ = await admin.ask("POST", f"{INSTANCES}/mcp-server-v6-001/offline")
    assert status == 500
    await platform.gateway.bridging.running.refresh()
    assert await admin.ask("GET", CONFIG) == before
    await platform.gateway._routes.refresh("mcp-server-v6")
    assert (await caller.call("getPersonById", {"id": 1}))[0] == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"loadBalancer": {"algorithm": "RANDOM"}}, "loadBalancer.algorithm"),
        ({"loadBalancer": {"algorithm": "CONSISTENT_HASH"}}, "loadBalancer.algorithm"),
        ({"loadBalancer": {"healthCheckInterval": 0}}, "loadBalancer.healthCheckInterval"),
        ({"loadBalancer": {"healthCheckInterval": "30"}}, "loadBalancer.healthCheckInterval"),
        ({"connectionPool": {"maxConnections": 0}}, "connectionPool.maxConnections"),
        ({"connectionPool": {"maxConnections": 1.5}}, "connectionPool.maxConnections"),
        ({"connectionPool": {"connectionTimeout": -1}}, "connectionPool.connectionTimeout"),
        ({"connectionPool": {"maxConections": 5}}, "connectionPool.maxConections"),
        ({"pool": {}}, "pool"),
    ],
)
async def test_values_that_make_no_sense_are_refused_by_their_field(
    shared_admin: Caller, change: object, field: str
) -> None:
    _, before = await shared_admin.ask("GET", CONFIG)
    status, answer = await shared_admin.ask("PUT", CONFIG, change)
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")
    assert answer["error"]["details"]["field"] == field
    assert await shared_admin.ask("GET", CONFIG) == (200, before)


async def test_an_instance_is_taken_out_of_rotation_and_put_back(
    platform: Platform, server: Persons, admin: Caller
) -> None:
    async with persons() as other:
        await platform.deploy("mcp-server-v6", server.url, other.url)
        assert min(await counts(admin, server, other)) >= 3
        status, answer = await admin.ask("POST", f"{INSTANCES}/mcp-server-v6-002/offline")
        assert (status, answer) == (
            200,
            {
                "serviceName": "mcp-server-v6",
                "instanceId": "mcp-server-v6-002",
                "offline": True,
                "weight": 1.0,
            },
        )
        assert await counts(admin, server, other) == [12, 0]
        _, service = await admin.ask("GET", "/mcp/bridge/services/mcp-server-v6")
        assert [each["healthy"] for each in service["instances"]] == [True, False]
        _, health = await admin.ask("GET", "/mcp/bridge/health/mcp-server-v6")
        assert (health["status"], health["totalInstances"], health["healthyInstances"]) == ("UP", 2, 1)
        assert health["instances"][1]["state"] == "offline"
        status, answer = await admin.ask("POST", f"{INSTANCES}/mcp-server-v6-002/online")
        assert (status, answer["offline"]) == (200, False)
        assert min(await counts(admin, server, other)) >= 3
    assert [action for action, _, _ in await actions(platform)] == [
        "gateway.take_offline",
        "gateway.put_online",
    ]


async def test_instances_that_were_all_taken_offline_are_shown_and_named_as_such(
    caller: Caller, admin: Caller
) -> None:
    assert (await caller.call("getPersonById", {"id": 1}))[0] == 200
    assert (await admin.ask("POST", f"{INSTANCES}/mcp-server-v6-001/offline"))[0] == 200
    status, answer = await caller.call("getPersonById", {"id": 1})
    assert (status, answer["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "taken offline: mcp-server-v6" in answer["error"]["message"]
    _, health = await caller.ask("GET", "/mcp/bridge/health/mcp-server-v6")
    (instance,) = health["instances"]
    assert (health["status"], instance["state"], instance["reason"]) == ("DOWN", "offline", "taken offline")
    _, figures = await caller.ask("GET", "/mcp/bridge/metrics/loadbalancing")
    (instance,) = figures["services"][0]["instances"]
    assert (instance["instanceId"], instance["state"]) == ("mcp-server-v6-001", "offline")


async def test_an_instance_gets_as_much_as_its_weight_says(
    platform: Platform, server: Persons, admin: Caller
) -> None:
    async with persons() as other:
        await platform.deploy("mcp-server-v6", server.url, other.url)
        status, answer = await admin.ask("PUT", f"{INSTANCES}/mcp-server-v6-001/weight", {"weight": 2.0})
        assert (status, answer["weight"]) == (200, 2.0)
        # Lists that are read meanwhile take their turn too.
        heavy, _ = await counts(admin, server, other, calls=30)
        assert 18 <= heavy <= 22
        _, service = await admin.ask("GET", "/mcp/bridge/services/mcp-server-v6")
        assert [each["weight"] for each in service["instances"]] == [2.0, 1.0]


@pytest.mark.parametrize("body", [{}, {"weight": 0}, {"weight": "2"}, {"weight": 1, "more": 2}])
async def test_a_weight_that_makes_no_sense_is_refused(shared_admin: Caller, body: object) -> None:
    status, answer = await shared_admin.ask("PUT", f"{INSTANCES}/mcp-server-v6-001/weight", body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_REQUEST")


async def test_an_instance_that_there_is_not_is_not_found(shared_admin: Caller) -> None:
    for path in (f"{INSTANCES}/mcp-server-v6-007/offline", INSTANCES.replace("v6", "v7") + "/x/offline"):
        status, answer = await shared_admin.ask("POST", path)
        assert (status, answer["error"]["code"]) == (404, "SERVICE_NOT_FOUND")


async def test_connections_are_dropped_and_opened_anew(
    platform: Platform, caller: Caller, admin: Caller
) -> None:
    await caller.call("getPersonById", {"id": 1})
    await all_quiet(platform)
    before = platform.gateway._opener.http.open
    assert before >= 1
    status, answer = await admin.ask("POST", "/mcp/bridge/admin/connections/reset")
    assert (status, answer) == (200, {"closed": before, "opened": before, "gateways": 1})
    assert (platform.gateway._opener.http.open, platform.gateway._opener.http.idle) == (before, before)
    assert (await caller.call("getPersonById", {"id": 1}))[0] == 200
    status, answer = await admin.ask("POST", "/mcp/bridge/admin/connections/cleanup")
    assert (status, answer) == (200, {"closed": 0, "opened": 0, "gateways": 1})
    assert [action for action, _, _ in await actions(platform)] == [
        "gateway.reset_connections",
        "gateway.cleanup_connections",
    ]


async def test_a_connection_that_is_in_use_is_dropped_when_it_carries_nothing_any_more(
    platform: Platform, caller: Caller, server: Persons, admin: Caller
) -> None:
    calling = asyncio.create_task(caller.call("wait"))

    async def under_way() -> bool:
        return server.running == 1

    await eventually(under_way)
    await all_quiet(platform, busy=1)
    http = platform.gateway._opener.http
    former = set(http._open)
    await admin.ask("POST", "/mcp/bridge/admin/connections/reset")
    assert len(former & http._open) == 1
    server.release.set()
    assert (await calling)[0] == 200

    async def settled() -> bool:
        return not former & http._open

    await eventually(settled)


async def test_more_connections_than_may_be_are_refused_early(
    platform: Platform, caller: Caller, server: Persons, admin: Caller
) -> None:
    await caller.call("getPersonById", {"id": 1})
    await all_quiet(platform)
    await admin.ask("PUT", CONFIG, {"connectionPool": {"maxConnections": 2}})
    calling = [asyncio.create_task(caller.call("wait")) for _ in range(5)]

    async def refused() -> int:
        return sum(each.done() for each in calling)

    async def under_way() -> int:
        return server.running

    await eventually(refused, lambda seen: seen == 3)
    await eventually(under_way, lambda seen: seen == 2)
    server.release.set()
    answers = [answer for _, answer in await asyncio.gather(*calling)]
    codes = [each["error"]["code"] for each in answers if not each["success"]]
    assert codes == ["SERVICE_UNAVAILABLE"] * 3
    assert server.most_at_once == 2
    assert (await caller.call("getPersonById", {"id": 1}))[0] == 200
