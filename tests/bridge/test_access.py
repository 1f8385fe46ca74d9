"""Who may do what at the bridge, how often, and what refusals look like."""

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from gateway.bridge.routing import PERMISSIONS, Scope
from mcp_platform.contracts.access import ApiKey, Permission, Principal, Role
from mcp_platform.contracts.calls import CallFilter
from mcp_platform.names import RouteClass
from mcp_platform.security.api_keys import api_key_hash, new_api_key
from mcp_platform.settings import RateSettings
from tests.bridge.conftest import Caller, plentiful
from tests.bridge.persons import Persons
from tests.gateway.conftest import Platform, _now, running_platform, settings_for
from tests.policy.desk import govern
from tests.waiting import eventually, in_one_task

ROUTES = {
    ("POST", "/mcp/smart/call", "WRITE", "bridge-smart"),
    ("POST", "/mcp/smart/batch", "WRITE", "bridge-batch"),
    ("POST", "/mcp/bridge/route/{serviceName}", "WRITE", "bridge-direct"),
    ("GET", "/mcp/bridge/services", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/services/{serviceName}", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/tools", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/health/{serviceName}", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/connections/status", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/stats", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/metrics/tools", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/metrics/loadbalancing", "READ", "bridge-query"),
    ("GET", "/mcp/bridge/config", "READ", "bridge-query"),
    ("PUT", "/mcp/bridge/config", "ADMIN", "bridge-query"),
    (
        "POST",
        "/mcp/bridge/admin/services/{serviceName}/instances/{instanceId}/offline",
        "ADMIN",
        "bridge-query",
    ),
    (
        "POST",
        "/mcp/bridge/admin/services/{serviceName}/instances/{instanceId}/online",
        "ADMIN",
        "bridge-query",
    ),
    (
        "PUT",
        "/mcp/bridge/admin/services/{serviceName}/instances/{instanceId}/weight",
        "ADMIN",
        "bridge-query",
    ),
    ("POST", "/mcp/bridge/admin/connections/reset", "ADMIN", "bridge-query"),
    ("POST", "/mcp/bridge/admin/connections/cleanup", "ADMIN", "bridge-query"),
}
"""Every route with its scope and its limit; the shown place holders are filled with any name."""


async def scoped(platform: Platform, *scopes: str) -> Caller:
    """Give an administrator's key of these scopes."""
    user, key = await platform.add_user(Role.ADMIN), new_api_key()
    record = ApiKey(id=uuid4(), name="k", prefix=key[:8], created_at=_now(), scopes=list(scopes))
    async with platform.stores.write() as rows:
        await rows.api_keys.add(record, user.id, api_key_hash(key))
    return Caller(platform.url, key)


async def test_each_route_declares_its_scope_and_its_limit(platform: Platform) -> None:
    routes = platform.gateway.bridging.bridge.routes.all
    assert {(each.method, each.path, each.scope.value, each.kind.value) for each in routes} == ROUTES
    assert set(PERMISSIONS) == set(Scope)
    assert set(PERMISSIONS.values()) == {
        Permission.DEPLOYMENTS_READ,
        Permission.TOOLS_CALL,
        Permission.GATEWAY_ADMIN,
    }


async def test_no_route_answers_without_a_credential_or_beyond_its_scope(
    platform: Platform, caller: Caller
) -> None:
    callers = {scope: await scoped(platform, scope) for scope in ("READ", "WRITE", "ADMIN")}
    stranger = Caller(platform.url, "")
    rank = ["READ", "WRITE", "ADMIN"]
    for method, path, needed, _ in sorted(ROUTES):
        filled = path.format(serviceName="absent", instanceId="absent")
        status, answer = await stranger.ask(method, filled)
        assert (status, answer["error"]["code"], answer["success"]) == (401, "UNAUTHORIZED", False)
        assert stranger.headers["WWW-Authenticate"].startswith("Bearer")
        for scope, each in callers.items():
            status, answer = await each.ask(method, filled)
            if rank.index(scope) < rank.index(needed):
                assert (status, answer["error"]["code"]) == (403, "FORBIDDEN"), (scope, method, path)
                assert answer["error"]["details"]["requiredPermission"] == PERMISSIONS[Scope(needed)]
            else:
                assert status not in (401, 403), (scope, method, path)


async def test_a_credential_for_one_endpoint_is_not_good_at_the_bridge(
    platform: Platform, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = platform.gateway.credentials
    known = credentials.authenticate

    async def granted(headers: Mapping[str, str]) -> Principal:
        return (await known(headers)).model_copy(update={"endpoint": "mcp-server-v6"})

    monkeypatch.setattr(credentials, "authenticate", granted)
    for method, path in (("POST", "/mcp/smart/call"), ("GET", "/mcp/bridge/services")):
        status, answer = await caller.ask(method, path)
        assert (status, answer["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_tool_that_the_policy_keeps_from_a_caller_is_neither_shown_nor_called(
    platform: Platform, server: Persons
) -> None:
    deployed = await platform.deploy("mcp-server-v6", server.url)
    caller = Caller(platform.url, platform.key)
    assert (await caller.call("getAllPersons"))[0] == 200
    before = len(server.calls)
    await govern(platform, deployed, rules=[{"deny": ["getAll*"]}])
    _, service = await caller.ask("GET", "/mcp/bridge/services/mcp-server-v6")
    _, tools = await caller.ask("GET", "/mcp/bridge/tools")
    assert "getAllPersons" not in {*service["tools"], *(each["name"] for each in tools["tools"])}
    status, answer = await caller.call("getAllPersons")
    assert (status, answer["error"]["code"]) == (404, "TOOL_NOT_FOUND")
    rpc = {"id": 1, "method": "tools/call", "params": {"name": "getAllPersons", "arguments": {}}}
    status, _ = await caller.ask("POST", "/mcp/bridge/route/mcp-server-v6", rpc)
    assert len(server.calls) == before

    async def outcomes() -> list[str]:
        async with platform.stores.read() as rows:
            found = await rows.calls.newest(CallFilter(tool="getAllPersons"), None, 10)
        return [each.outcome for each in found]

    assert await eventually(outcomes, lambda seen: len(seen) == 2) == ["denied", "ok"]


async def test_developers_do_not_administer(shared: Caller) -> None:
    status, answer = await shared.ask("PUT", "/mcp/bridge/config", {})
    assert (status, answer["error"]["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/mcp/bridge/absent", 404, "NOT_FOUND"),
        ("GET", "/mcp/bridge", 404, "NOT_FOUND"),
        ("GET", "/mcp/bridge/services/a/b", 404, "NOT_FOUND"),
        ("GET", "/mcp/smart/call", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/mcp/bridge/config", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_paths_and_methods_that_there_are_not_are_refused_in_the_envelope(
    shared: Caller, method: str, path: str, status: int, code: str
) -> None:
    answered, answer = await shared.ask(method, path)
    assert (answered, answer["error"]["code"]) == (status, code)
    assert set(answer) == {"success", "error", "metadata"}
    if status == 405:
        assert "Allow" in shared.headers


async def test_a_body_over_the_limit_is_refused_in_the_envelope(shared: Caller) -> None:
    status, answer = await shared.ask("POST", "/mcp/smart/call", b"x" * 200_000)
    assert (status, answer["error"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert answer["error"]["details"] == {"limitBytes": 100_000}


async def test_pages_of_other_sites_may_not_call(shared: Caller) -> None:
    status, answer = await shared.ask("GET", "/mcp/bridge/stats", Origin="https://evil.example")
    assert (status, answer["error"]["code"]) == (403, "FORBIDDEN")


async def test_each_kind_of_call_has_the_contracts_limit_of_its_own(tmp_path: Path, server: Persons) -> None:
    settings = settings_for(tmp_path)
    async with in_one_task(running_platform(settings)) as platform:
        await platform.deploy("mcp-server-v6", server.url)
        caller = Caller(platform.url, platform.key)
        smart = {"toolName": "getPersonById", "arguments": {"id": 1}}
        rpc = {"id": 1, "method": "ping"}
        for method, path, body, limit in (
            ("POST", "/mcp/smart/call", smart, 100),
            ("POST", "/mcp/bridge/route/mcp-server-v6", rpc, 200),
            ("POST", "/mcp/smart/batch", {"calls": [smart]}, 10),
            ("GET", "/mcp/bridge/services", None, 1000),
        ):
            status, _ = await caller.ask(method, path, body)
            assert status == 200
            assert int(caller.headers["X-RateLimit-Limit"]) == limit
            assert int(caller.headers["X-RateLimit-Remaining"]) == limit - 1
            assert int(caller.headers["X-RateLimit-Reset"]) > 1_700_000_000


async def test_who_calls_too_often_is_told_when_to_come_again(tmp_path: Path, server: Persons) -> None:
    settings = plentiful(settings_for(tmp_path), BRIDGE_BATCH=RateSettings(user=2))
    async with in_one_task(running_platform(settings)) as platform:
        await platform.deploy("mcp-server-v6", server.url)
        caller = Caller(platform.url, platform.key)
        body = {"calls": [{"toolName": "getAllPersons"}]}
        answers = [await caller.ask("POST", "/mcp/smart/batch", body) for _ in range(3)]
        assert [status for status, _ in answers] == [200, 200, 429]
        assert answers[2][1]["error"]["code"] == "RATE_LIMIT_EXCEEDED"
        assert int(caller.headers["Retry-After"]) > 0
        assert caller.headers["X-RateLimit-Remaining"] == "0"
        assert (await caller.call("getAllPersons"))[0] == 200


def test_the_limits_of_the_bridge_are_the_contracts() -> None:
    assert {kind.value for kind in RouteClass if kind.startswith("bridge")} == {
        kind for _, _, _, kind in ROUTES
    }
