"""`/api/v1/audit`: what is recorded, and how it is read."""

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest

import api.audit
from api.app import create_app
from api.audit_recorder import AuditRecorder
from mcp_platform import audit_refusals
from mcp_platform.contracts.audit import AuditEvent
from mcp_platform.errors import RateLimited
from mcp_platform.settings import Settings
from storage.sql import audit
from storage.sql.audit_check import AuditCheck
from tests.platform import ADMIN_PASSWORD, PASSWORD, Caller, RunningPlatform

CONFIG: dict[str, Any] = {"servers": [{"name": "far", "url": "http://127.0.0.1:9/mcp"}]}


@pytest.fixture(scope="module")
async def admin(platform: RunningPlatform) -> Caller:
    """Give the administrator, the same for the tests of this module."""
    return await platform.admin()


async def entries(admin: Caller, **wanted: Any) -> list[dict[str, Any]]:
    """Read entries, the newest first."""
    answer = await admin.get("/api/v1/audit", params=wanted)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


async def entry_of(admin: Caller, answer: httpx.Response) -> dict[str, Any]:
    """Read the one entry of the request that had this answer."""
    found = await entries(admin, limit=100)
    (entry,) = [one for one in found if one["request_id"] == answer.headers["X-Request-ID"]]
    assert entry["status"] == answer.status_code
    return entry


async def identity(caller: Caller) -> dict[str, Any]:
    answer = await caller.get("/api/v1/auth/me")
    assert answer.status_code == 200, answer.text
    me: dict[str, Any] = answer.json()
    return me


def order(**changes: Any) -> dict[str, Any]:
    return {"name": "T", "slug": f"a-{uuid4().hex[:8]}", "version": "1.0.0", "config": CONFIG} | changes


async def test_a_change_is_recorded_with_who_what_where_and_what_came_of_it(
    platform: RunningPlatform, admin: Caller
) -> None:
    member = await platform.member()
    me = await identity(member)
    answer = await member.post("/api/v1/mcps", json=order())
    entry = await entry_of(admin, answer)
    assert entry["actor_id"] == me["id"]
    assert entry["actor_name"] == me["username"]
    assert entry["credential"].startswith("session:")
    assert entry["action"] == "mcps.create_mcp"
    assert (entry["resource_type"], entry["resource_id"]) == ("mcp_tool", answer.json()["id"])
    assert (entry["address"], entry["outcome"], entry["details"]) == ("127.0.0.1", "success", {})

    deleted = await member.delete(f"/api/v1/mcps/{answer.json()['id']}")
    entry = await entry_of(admin, deleted)
    assert (entry["action"], entry["resource_id"]) == ("mcps.delete_mcp", answer.json()["id"])


async def test_an_api_key_is_recorded_as_the_credential(platform: RunningPlatform, admin: Caller) -> None:
    member = await platform.member()
    made = await member.post("/api/v1/auth/api-keys", json={"name": "ci"})
    entry = await entry_of(admin, made)
    assert (entry["resource_type"], entry["resource_id"]) == ("api_key", made.json()["id"])
    robot = platform.caller()
    robot.headers["X-API-Key"] = made.json()["key"]
    entry = await entry_of(admin, await robot.post("/api/v1/mcps", json=order()))
    assert entry["credential"] == f"key:{made.json()['id']}"


async def test_a_sign_in_is_recorded_whatever_comes_of_it(platform: RunningPlatform, admin: Caller) -> None:
    member = await platform.member()
    me = await identity(member)
    stranger = platform.caller()
    body = {"username": me["username"], "password": PASSWORD}
    right = await stranger.post("/api/v1/auth/login", json=body)
    entry = await entry_of(admin, right)
    assert (entry["action"], entry["outcome"]) == ("access.login", "success")
    assert (entry["actor_id"], entry["actor_name"]) == (me["id"], me["username"])
    assert entry["credential"].startswith("session:")

    wrong = await stranger.post("/api/v1/auth/login", json=body | {"password": "not the password"})
    entry = await entry_of(admin, wrong)
    assert (entry["outcome"], entry["actor_name"], entry["credential"]) == ("denied", me["username"], "")
    assert entry["details"] == {"error_code": "UNAUTHORIZED"}

    nobody = f"nobody-{uuid4().hex}" + "x" * 150
    unknown = await stranger.post("/api/v1/auth/login", json={"username": nobody, "password": "x" * 20})
    entry = await entry_of(admin, unknown)
    assert (entry["outcome"], entry["actor_name"], entry["actor_id"]) == ("denied", nobody, None)

    refreshed = await stranger.post(
        "/api/v1/auth/refresh", json={"refresh_token": right.json()["refresh_token"]}
    )
    entry = await entry_of(admin, refreshed)
    assert (entry["action"], entry["actor_id"]) == ("access.refresh", me["id"])


@pytest.mark.parametrize(
    ("role", "send", "status", "outcome", "code"),
    [
        ("viewer", order(), 403, "denied", "FORBIDDEN"),
        (None, order(), 401, "denied", "UNAUTHORIZED"),
        ("developer", {"name": "T"}, 422, "failed", "VALIDATION_ERROR"),
        ("developer", order(description="x" * 200_000), 413, "failed", "PAYLOAD_TOO_LARGE"),
    ],
)
async def test_what_is_refused_is_recorded(
    platform: RunningPlatform,
    admin: Caller,
    role: str | None,
    send: dict[str, Any],
    status: int,
    outcome: str,
    code: str,
) -> None:
    caller = await platform.member(role) if role else platform.caller()
    answer = await caller.post("/api/v1/mcps", json=send)
    assert answer.status_code == status
    entry = await entry_of(admin, answer)
    assert (entry["action"], entry["outcome"]) == ("mcps.create_mcp", outcome)
    assert entry["details"]["error_code"] == code


async def test_a_change_of_what_does_not_exist_is_recorded_with_what_was_meant(
    platform: RunningPlatform, admin: Caller
) -> None:
    missing = uuid4()
    entry = await entry_of(admin, await admin.delete(f"/api/v1/deployments/{missing}"))
    assert (entry["action"], entry["outcome"]) == ("deployments.stop_deployment", "failed")
    assert (entry["resource_type"], entry["resource_id"]) == ("deployment", str(missing))


async def test_a_fault_of_ours_is_recorded(platform: RunningPlatform, admin: Caller) -> None:
    with patch.object(type(platform.parts.stores.documents), "put", side_effect=KeyError("broken")):
        answer = await admin.post("/api/v1/mcps", json=order())
    assert answer.status_code == 500
    assert (await entry_of(admin, answer))["outcome"] == "failed"


async def test_what_changes_nothing_is_not_recorded(platform: RunningPlatform, admin: Caller) -> None:
    before = (await entries(admin, limit=1))[0]["seq"]
    answers = [
        await admin.get("/api/v1/mcps"),
        await admin.post("/api/v1/no-such-path"),
        await admin.post("/api/v1/mcps/tags"),
        await admin.put("/api/v1/mcps"),
    ]
    told = {one["request_id"] for one in await entries(admin, limit=100) if one["seq"] > before}
    assert not told & {answer.headers["X-Request-ID"] for answer in answers}


async def test_an_entry_is_written_before_the_answer_begins(platform: RunningPlatform, admin: Caller) -> None:
    may_write, writing = asyncio.Event(), asyncio.Event()
    record = AuditRecorder.record

    async def slowly(self: AuditRecorder, event: AuditEvent) -> None:
        writing.set()
        await may_write.wait()
        await record(self, event)

    with patch.object(AuditRecorder, "record", slowly):
        answer = asyncio.create_task(admin.post("/api/v1/mcps", json=order()))
        async with asyncio.timeout(30):
            await writing.wait()
        done, _ = await asyncio.wait([answer], timeout=0.1)
        assert not done
        may_write.set()
        assert (await answer).status_code == 201


async def test_no_secret_is_ever_recorded(platform: RunningPlatform, admin: Caller) -> None:
    marks = [f"hush-{uuid4().hex}" for _ in range(8)]
    name = f"secretive-{uuid4().hex[:8]}"
    caller = platform.caller()
    account = {"username": name, "email": f"{name}@example.com", "password": marks[0] + "A1!"}
    assert (await caller.post("/api/v1/auth/register", json=account)).status_code == 201
    await caller.post("/api/v1/auth/register", json=account | {"password": marks[1], "nonsense": marks[2]})
    await caller.post("/api/v1/auth/login", json={"username": name, "password": marks[3]})
    await caller.post("/api/v1/auth/login", content=json.dumps(marks[4]))
    pair = await caller.sign_in(name, marks[0] + "A1!")
    await caller.post("/api/v1/auth/refresh", json={"refresh_token": marks[5]})
    key = await caller.post("/api/v1/auth/api-keys", json={"name": "ci"})
    await caller.put("/api/v1/secrets/DATABASE_PASSWORD", json={"value": marks[6]})
    await caller.post(f"/api/v1/mcps?token={marks[7]}", json=order(), headers={"X-Note": marks[7]})
    seen = await caller.post("/api/v1/auth/refresh", json={"refresh_token": pair["refresh_token"]})
    exported = await admin.get("/api/v1/audit", params={"format": "jsonl"})
    assert name in exported.text
    tokens = [pair["access_token"], pair["refresh_token"], key.json()["key"], seen.json()["access_token"]]
    for secret in (*marks, *tokens, ADMIN_PASSWORD):
        assert secret not in exported.text
        assert secret not in json.dumps(exported.text)


async def test_entries_are_filtered(platform: RunningPlatform, admin: Caller) -> None:
    member = await platform.member()
    me = await identity(member)
    first = await member.post("/api/v1/mcps", json=order())
    await member.post("/api/v1/mcps", json=order(slug="No Slug"))
    await member.post("/api/v1/auth/api-keys", json={"name": "ci"})

    async def actions(**wanted: Any) -> list[str]:
        found = await entries(admin, **({"actor": me["id"]} | wanted))
        return [f"{entry['action']} {entry['outcome']}" for entry in found]

    made, refused, key = "mcps.create_mcp success", "mcps.create_mcp failed", "access.create_api_key success"
    assert (await actions())[:3] == [key, refused, made]
    assert set(await actions(actor=me["username"].upper())) >= {key, refused, made}
    assert await actions(action="mcps.create_mcp") == [refused, made]
    assert await actions(action="mcps") == [refused, made]
    assert await actions(action="mcp") == []
    assert await actions(action="m%") == []
    assert await actions(resource_type="api_key") == [key]
    assert await actions(resource_id=first.json()["id"]) == [made]
    assert await actions(outcome="failed") == [refused]
    assert await actions(address="192.0.2.77") == []
    moments = {
        entry["action"] + entry["outcome"]: entry["at"] for entry in await entries(admin, actor=me["id"])
    }
    assert (await actions(**{"from": moments["mcps.create_mcpfailed"]}))[-1] == refused
    assert (await actions(to=moments["mcps.create_mcpfailed"]))[0] == made


async def test_pages_follow_a_cursor_while_new_entries_come(platform: RunningPlatform, admin: Caller) -> None:
    member = await platform.member()
    actor = (await identity(member))["id"]
    for number in range(5):
        await member.post("/api/v1/auth/api-keys", json={"name": str(number)})
    wanted = {"actor": actor, "action": "access.create_api_key", "limit": 2}
    seen: list[int] = []
    cursor: dict[str, int] = {}
    while True:
        page = (await admin.get("/api/v1/audit", params=wanted | cursor)).json()
        seen += [entry["seq"] for entry in page["entries"]]
        await member.post("/api/v1/auth/api-keys", json={"name": "later"})
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)


async def test_everything_that_matches_is_exported(
    platform: RunningPlatform, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "_READ_AT_ONCE", 3)
    member = await platform.member()
    actor = (await identity(member))["id"]
    for number in range(7):
        await member.post("/api/v1/auth/api-keys", json={"name": str(number)})
    listed = await entries(admin, actor=actor)
    assert len(listed) >= 7

    lines = await admin.get("/api/v1/audit", params={"actor": actor, "format": "jsonl"})
    assert lines.headers["Content-Type"].startswith("application/jsonl")
    assert [json.loads(line) for line in lines.text.splitlines()] == listed

    table = await admin.get(f"/api/v1/audit?actor={actor}", headers={"Accept": "text/csv"})
    assert table.headers["Content-Type"].startswith("text/csv")
    assert "audit.csv" in table.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [int(row["seq"]) for row in rows] == [entry["seq"] for entry in listed]
    assert [row["hash"] for row in rows] == [entry["hash"] for entry in listed]


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
async def test_a_spreadsheet_takes_no_cell_for_a_formula(
    platform: RunningPlatform, admin: Caller, begin: str
) -> None:
    name = f"{begin}HYPERLINK('http://192.0.2.1/{uuid4().hex}')"
    await platform.caller().post("/api/v1/auth/login", json={"username": name, "password": "x" * 20})
    table = await admin.get("/api/v1/audit", params={"actor": name, "format": "csv"})
    (row,) = csv.DictReader(io.StringIO(table.text, newline=""))
    assert row["actor_name"] == f"'{name}"


@pytest.mark.parametrize(
    "wrong", [{"format": "xml"}, {"outcome": "fine"}, {"from": "yesterday"}, {"cursor": 0}, {"limit": 501}]
)
async def test_a_wrong_question_is_refused(admin: Caller, wrong: dict[str, Any]) -> None:
    assert (await admin.get("/api/v1/audit", params=wrong)).status_code == 422


@pytest.mark.parametrize("role", ["developer", "viewer"])
async def test_only_who_may_read_the_log_does(platform: RunningPlatform, role: str) -> None:
    answer = await (await platform.member(role)).get("/api/v1/audit")
    assert answer.status_code == 403
    assert answer.json()["required_permission"] == "audit:read"


async def test_the_whole_platforms_log_is_one_chain(platform: RunningPlatform, admin: Caller) -> None:
    await asyncio.gather(*(admin.post("/api/v1/mcps", json=order()) for _ in range(20)))
    found = await AuditCheck(platform.parts.stores.database, platform.parts.sealer).run()
    assert found.breach is None
    assert found.entries == found.last_seq >= 20


async def test_a_flood_of_refused_requests_is_no_flood_of_entries(
    platform: RunningPlatform, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = await platform.member()
    actor = (await identity(member))["id"]
    refused = patch.object(type(platform.parts.limits), "charge", side_effect=RateLimited(7))

    async def knock(times: int) -> list[dict[str, Any]]:
        with refused:
            for _ in range(times):
                assert (await member.post("/api/v1/mcps", json=order())).status_code == 429
        return await entries(admin, actor=actor, outcome="denied")

    (first,) = await knock(10)
    assert first["details"] == {"error_code": "RATE_LIMIT_EXCEEDED", "left_out": 0}
    monkeypatch.setattr(audit_refusals, "_EVERY", 0.0)
    second, _ = await knock(1)
    assert second["details"]["left_out"] == 9


def test_every_action_has_a_name_of_its_own_and_says_what_it_is_about() -> None:
    actions = [
        action
        for action in api.audit._actions_of(create_app(Settings(data_dir=Path("unused"))))
        if action.methods & api.audit._CHANGING and not action.reads_only
    ]
    names = [action.name for action in actions]
    assert len(set(names)) == len(names) > 20
    types = {action.resource(action.path)[0] for action in actions}
    known = {"mcp_tool", "deployment", "task", "user", "session", "api_key", "role", "secret", "document"}
    assert types == known | {"connection", "group", "member", "pin", "authorization", "grant"}
