"""A stream lasts as long as the credential that opened it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from mcp_platform.contracts.events import Event, EventType
from mcp_platform.names import Channel
from mcp_platform.security.keys import load_master_key
from mcp_platform.security.tokens import Tokens
from tests.platform import PASSWORD, Caller, RunningPlatform
from tests.tasks.sockets import Socket, open_events, open_socket
from tests.tasks.states import Deliberation
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("patient_queries")

UNAUTHORIZED = 4401
SHORT = 8
"""Seconds for which a token holds that is to expire: enough to open all streams on a slow machine."""
PROMPT = PATIENCE / 2
"""Seconds: far less than the minute after which every credential is asked about in any case."""


async def short_token(platform: RunningPlatform, caller: Caller, seconds: int) -> str:
    """Issue a token of the caller's own session that ends soon."""
    claims = platform.parts.tokens.read_access(caller.token)
    async with platform.parts.stores.read() as rows:
        user = await rows.users.get(claims.user_id)
    assert user is not None
    own = Tokens(load_master_key(platform.settings), seconds, 60)
    return own.issue_access(user, claims.family_id)


async def closed(socket: Socket) -> tuple[int, str]:
    """Wait for the end of a socket, whatever comes before; its code and reason."""
    try:
        while True:
            await socket.next()
    except ConnectionClosed as end:
        if end.rcvd is None:
            raise
        return end.rcvd.code, end.rcvd.reason


@asynccontextmanager
async def both(platform: RunningPlatform, caller: Caller) -> AsyncIterator[tuple[Socket, Any]]:
    """Open a socket and an event stream."""
    async with open_socket(platform, caller.token) as socket, open_events(caller) as stream:
        yield socket, stream


async def both_end(socket: Socket, stream: Any, reason: str) -> None:
    code, said = await closed(socket)
    assert code == UNAUTHORIZED
    assert reason in said
    async with asyncio.timeout(PATIENCE):
        while (event := await stream.next())[0] != "error":
            pass
        assert event[1]["error_code"] == "UNAUTHORIZED"
        assert reason in event[1]["detail"]
        with pytest.raises(StopAsyncIteration):
            await stream.line()


async def test_a_token_that_expires_ends_its_streams_with_a_clear_code(platform: RunningPlatform) -> None:
    member = await platform.member()
    member.headers["Authorization"] = f"Bearer {await short_token(platform, member, SHORT)}"
    async with both(platform, member) as (socket, stream):
        await both_end(socket, stream, "expired")


async def test_a_token_that_is_refreshed_in_the_stream_carries_on(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    short = await short_token(platform, member, SHORT)
    async with open_socket(platform, short) as socket, open_socket(platform, short) as forgetful:
        await socket.send("subscribe", task_id)
        await socket.next()
        await socket.connection.send(json.dumps({"type": "authenticate", "token": member.token}))
        answer = await socket.next()
        ends = platform.parts.tokens.read_access(member.token).expires_at
        assert answer == {"type": "authenticated", "expires_at": ends.isoformat()}
        assert (await closed(forgetful))[0] == UNAUTHORIZED
        deliberation.end()
        assert (await socket.until_final(task_id))[-1]["status"] == "completed"


async def test_a_token_that_does_not_hold_or_is_somebody_elses_changes_nothing(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member, other = await platform.member(), await platform.member()
    theirs = await deliberation.start_task(other)
    async with open_socket(platform, member.token) as socket:
        for token, code in ((f"{member.token}x", "UNAUTHORIZED"), (other.token, "FORBIDDEN")):
            await socket.connection.send(json.dumps({"type": "authenticate", "token": token}))
            answer = await socket.next()
            assert (answer["type"], answer["error_code"]) == ("error", code)
            await socket.send("subscribe", theirs)
            assert (await socket.next())["error_code"] == "NOT_FOUND"


async def test_a_session_that_is_ended_ends_its_streams_and_no_others(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    again = platform.caller()
    name = (await member.get("/api/v1/auth/me")).json()["username"]
    await again.sign_in(name, PASSWORD)
    async with both(platform, member) as (socket, stream), open_socket(platform, again.token) as other:
        assert (await member.post("/api/v1/auth/logout")).status_code == 200
        async with asyncio.timeout(PROMPT):
            await both_end(socket, stream, "does not hold")
        await other.send("subscribe", task_id)
        assert (await other.next())["task_id"] == task_id


async def test_an_account_that_is_disabled_hears_nothing_more(platform: RunningPlatform) -> None:
    member, admin = await platform.member(), await platform.admin()
    me = (await member.get("/api/v1/auth/me")).json()
    async with both(platform, member) as (socket, stream):
        answer = await admin.patch(f"/api/v1/users/{me['id']}", json={"is_active": False})
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(PROMPT):
            await both_end(socket, stream, "does not hold")


async def test_a_key_that_is_revoked_hears_nothing_more(platform: RunningPlatform) -> None:
    member = await platform.member()
    key = (await member.post("/api/v1/auth/api-keys", json={"name": "a screen"})).json()
    async with open_socket(platform, key["key"]) as socket:
        assert (await member.delete(f"/api/v1/auth/api-keys/{key['id']}")).status_code == 200
        async with asyncio.timeout(PROMPT):
            assert (await closed(socket))[0] == UNAUTHORIZED


async def test_a_revoked_key_hears_nothing_more_after_a_check_that_failed(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    admissions, failures = platform.parts.admissions, 0
    check = admissions._check_all

    async def failing_once() -> None:
        nonlocal failures
        if failures == 0:
            failures += 1
            raise RuntimeError("of a kind that nobody foresaw")
        await check()

    member = await platform.member()
    one, other = [(await member.post("/api/v1/auth/api-keys", json={"name": n})).json() for n in ("a", "b")]
    monkeypatch.setattr(admissions, "_check_all", failing_once)
    async with open_socket(platform, one["key"]) as socket:
        for key in (other, one):
            assert (await member.delete(f"/api/v1/auth/api-keys/{key['id']}")).status_code == 200
            await eventually(lambda: asyncio.sleep(0, failures))
        async with asyncio.timeout(PROMPT):
            assert (await closed(socket))[0] == UNAUTHORIZED


async def test_who_may_something_else_now_has_to_connect_again(platform: RunningPlatform) -> None:
    member, admin = await platform.member(), await platform.admin()
    me = (await member.get("/api/v1/auth/me")).json()
    async with both(platform, member) as (socket, stream):
        answer = await admin.patch(f"/api/v1/users/{me['id']}", json={"role": "viewer"})
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(PROMPT):
            await both_end(socket, stream, "connect again")


async def test_a_key_for_some_mcps_hears_only_of_their_deployments(platform: RunningPlatform) -> None:
    member = await platform.member()
    mine = await member.register_mcp({"servers": [{"name": "far", "url": "http://127.0.0.1:9/mcp"}]})
    order = {"name": "one", "mcp_ids": [mine["id"]]}
    key = (await member.post("/api/v1/auth/api-keys", json=order)).json()["key"]
    limited = platform.caller()
    limited.headers["Authorization"] = f"Bearer {key}"
    async with open_events(limited) as stream, open_events(member) as all_of_them:
        strange = str(uuid4())
        for tool_id in (strange, mine["id"]):
            data = {"deployment_id": str(uuid4()), "tool_id": tool_id, "status": "running"}
            event = Event(type=EventType.DEPLOYMENT_STATUS, owner_id=uuid4(), data=data)
            await platform.parts.stores.publish(Channel.EVENTS, event)
        assert (await stream.next())[1]["tool_id"] == mine["id"]
        told: list[str | None] = []
        while mine["id"] not in told:
            told.append((await all_of_them.next())[1].get("tool_id"))
        assert strange in told
