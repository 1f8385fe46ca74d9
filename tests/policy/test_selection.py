"""A tool that a caller may not call is, for that caller, not there."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import update

from mcp_platform.contracts.access import Role
from mcp_platform.contracts.calls import CallFilter, Outcome
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.policies import McpPolicy, StoredPolicy
from mcp_platform.names import Channel
from storage.sql.tables import McpPolicyRow
from tests.gateway.conftest import Background, Platform, running_platform, settings_for
from tests.policy.desk import called, desk, govern, governed, listed, post
from tests.waiting import eventually


async def test_a_hidden_tool_is_in_no_list_and_cannot_be_called(gateway: Platform) -> None:
    viewer = await gateway.add_user(Role.VIEWER)
    key, other = await gateway.add_key(viewer)
    async with desk() as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(
            gateway, deployment, rules=[{"roles": ["viewer"], "allow": ["read"]}, {"deny": ["drop"]}]
        )
        assert await listed(gateway, "desk") == ["read", "write"]
        assert await listed(gateway, "desk", other) == ["read"]
        refused = await called(gateway, "desk", "write", **{"X-API-Key": other})
        assert refused["error"] == {"code": -32602, "message": "Unknown tool: write"}
        status, body, _ = await gateway.rest("desk", "write", {}, **{"X-API-Key": other})
        assert (status, body["error_code"], body["resource_id"]) == (404, "NOT_FOUND", "write")
        assert server.calls == 0
        assert "result" in await called(gateway, "desk", "write")
        await govern(gateway, deployment, rules=[{"deny": ["drop"]}], redact=True)
        assert (await gateway.rest("desk", "drop", {}))[0] == 404
        await govern(gateway, deployment, rules=[{"keys": [str(key)], "deny": ["*"]}])
        assert await listed(gateway, "desk", other) == []
        assert await listed(gateway, "desk") == ["read", "write", "drop"]


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("old", [True, False])
async def test_official_clients_see_what_their_callers_may_call(
    gateway: Platform, mode: str, old: bool
) -> None:
    async with desk(legacy=old) as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, rules=[{"allow": ["re*"]}])
        async with gateway.client("desk", mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["read"]
            assert not (await client.call_tool("read", {})).is_error
        await gateway.place(deployment)


async def test_a_list_that_was_filtered_is_for_its_caller_alone(gateway: Platform) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        headers = {"X-API-Key": gateway.key}
        _, whole = await post(gateway.address("desk"), "tools/list", headers=headers)
        assert whole["result"]["cacheScope"] == "public"
        await govern(gateway, deployment, rules=[{"allow": ["*"]}])
        _, filtered = await post(gateway.address("desk"), "tools/list", headers=headers)
        assert filtered["result"]["cacheScope"] == "private"
        assert filtered["result"]["tools"] == whole["result"]["tools"]


async def test_a_refused_call_is_counted_as_denied(gateway: Platform) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment, rules=[{"deny": ["*"]}])
        await called(gateway, "desk", "read")

        await called(gateway, "desk", "write", "no object")

        async def journal() -> list[tuple[str, Outcome]]:
            async with gateway.stores.read() as rows:
                found = await rows.calls.newest(CallFilter(mcp="desk"), None, 10)
            return [(each.tool, each.outcome) for each in found]

        seen = await eventually(journal, lambda seen: len(seen) == 2)
        assert sorted(seen) == [("read", Outcome.DENIED), ("write", Outcome.DENIED)]
        assert server.calls == 0


async def test_a_policy_that_is_not_understood_lets_nothing_through(gateway: Platform) -> None:
    async with desk() as server:
        deployment = await gateway.deploy("desk", server.url, driver=Driver.REMOTE)
        await govern(gateway, deployment)
        newer = McpPolicy().model_dump(mode="json") | {"rules": [{"moons": ["full"], "deny": ["drop"]}]}
        async with gateway.stores.database.write() as session:
            await session.execute(update(McpPolicyRow).values(policy=newer))
        await gateway.stores.publish(Channel.POLICIES, {"mcp_id": str(deployment.mcp_id)})

        async def closed() -> bool:
            return gateway.gateway.policies.of(deployment.mcp_id).closed

        await eventually(closed)
        answer = await called(gateway, "desk", "read")
        assert answer["error"]["data"]["error_code"] == "SERVICE_UNAVAILABLE"
        status, _, _ = await gateway.rest("desk", "read", {})
        assert (status, server.calls) == (503, 0)


async def test_a_change_that_nobody_told_of_holds_at_the_next_reading(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, refresh_interval=0.1)
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    platform: Platform = await background.ready()
    deployment = await platform.deploy("desk")
    stored = StoredPolicy(
        mcp_id=deployment.mcp_id,
        revision=1,
        policy=McpPolicy(redact=True),
        updated_at=deployment.deployed_at,
        updated_by=platform.user.id,
    )
    async with platform.stores.write() as rows:
        await rows.policies.put(stored)
    await governed(platform.gateway, deployment.mcp_id, stored.policy)
    async with platform.stores.write() as rows:
        await rows.policies.put(stored.model_copy(update={"policy": McpPolicy()}))
    await governed(platform.gateway, deployment.mcp_id, McpPolicy())
    await background.close()


async def test_no_server_is_woken_for_a_call_that_is_not_allowed(gateway: Platform) -> None:
    deployment = await gateway.deploy("desk", driver=Driver.REMOTE)
    await govern(gateway, deployment, rules=[{"deny": ["drop"]}])
    await gateway.put_to_sleep(deployment)
    # A call that waits for a server waits twice as long.
    async with asyncio.timeout(gateway.settings.gateway.wake_timeout / 2):
        assert (await gateway.rest("desk", "drop", {}))[0] == 404
