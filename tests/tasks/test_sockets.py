"""`/ws`: the newest state of a task, to whoever may see it."""

import asyncio
import json
import logging
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus

from api.task_reader import TaskReader
from tests.platform import Caller, RunningPlatform
from tests.tasks.sockets import Socket, open_socket
from tests.tasks.states import LAST_STEP, Deliberation
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("patient_queries")


async def nobody_watches(platform: RunningPlatform) -> None:
    """Wait until no task is watched any more."""

    async def watched() -> int:
        return platform.parts.hub.watched

    await eventually(watched, lambda number: number == 0)


async def test_a_subscriber_is_told_each_new_state_once_up_to_the_final_one(
    platform: RunningPlatform,
    member: Caller,
) -> None:
    async with open_socket(platform, member.token) as socket:
        task_id = await member.start_analysis()
        await socket.send("subscribe", task_id)
        states = await socket.until_final(task_id)
    progress = [state["progress"] for state in states]
    assert progress == sorted(progress)
    assert len({(state["status"], state["message"]) for state in states}) == len(states)
    assert states[-1] == {
        "type": "task_update",
        "task_id": task_id,
        "status": "completed",
        "progress": 100,
        "message": "Completed",
        "stale": False,
        "result": (await member.task_is(task_id, "completed"))["result"],
    }
    await nobody_watches(platform)


async def test_the_present_state_comes_at_once_and_what_follows_when_it_happens(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as first, open_socket(platform, member.token) as second:
        for socket in (first, second):
            await socket.send("subscribe", task_id)
            present = await socket.next()
            assert (present["status"], present["progress"]) == ("running", 65)
            assert present["message"] == LAST_STEP
        assert platform.parts.hub.watched == 1
        deliberation.end()
        assert (await first.until_final(task_id))[-1]["status"] == "completed"
        assert (await second.until_final(task_id))[-1]["status"] == "completed"
    await nobody_watches(platform)


async def test_a_finished_task_is_told_once(platform: RunningPlatform, member: Caller) -> None:
    task_id = await member.start_analysis()
    await member.task_is(task_id, "completed")
    async with open_socket(platform, member.token) as socket:
        await socket.send("subscribe", task_id)
        assert len(await socket.until_final(task_id)) == 1


async def test_a_cancelled_task_is_told(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as socket:
        await socket.send("subscribe", task_id)
        await socket.next()
        await member.post(f"/api/v1/tasks/{task_id}/cancel")
        assert (await socket.until_final(task_id))[-1]["status"] == "cancelled"


async def test_a_task_terminated_in_temporal_is_told_as_failed(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as socket:
        await socket.send("subscribe", task_id)
        await socket.next()
        await platform.parts.temporal.get_workflow_handle(task_id).terminate()
        failed = (await socket.until_final(task_id))[-1]
    assert failed["status"] == "failed"
    assert "terminated" in failed["error"]


async def test_a_state_that_was_told_does_not_go_back_when_nobody_can_be_asked(
    platform: RunningPlatform,
    member: Caller,
    deliberation: Deliberation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as socket:
        await socket.send("subscribe", task_id)
        assert (await socket.next())["progress"] == 65
        with monkeypatch.context() as nobody:
            nobody.setattr(TaskReader, "_ask", AsyncMock(return_value=None))
            await platform.parts.temporal.get_workflow_handle(task_id).terminate()
            told = await socket.next()
        assert (told["status"], told["progress"], told["stale"]) == ("running", 65, True)
        failed = (await socket.until_final(task_id))[-1]
    assert (failed["status"], failed["progress"], failed["stale"]) == ("failed", 65, False)


async def test_after_unsubscribing_nothing_more_comes(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    left, kept = await deliberation.start_task(member), await deliberation.start_task(member)
    async with open_socket(platform, member.token) as socket:
        for task_id in (left, kept):
            await socket.send("subscribe", task_id)
            assert (await socket.next())["task_id"] == task_id
        await socket.send("unsubscribe", left)

        async def watched() -> int:
            return platform.parts.hub.watched

        await eventually(watched, lambda number: number == 1)
        deliberation.end()
        await member.task_is(left, "completed")
        assert (await socket.until_final(kept))[-1]["status"] == "completed"
        # Had the other task been told, its message would stand before the answer to this one.
        await socket.send("subscribe", "no-such-task")
        assert (await socket.next())["task_id"] == "no-such-task"


async def test_an_unknown_task_and_somebody_elses_are_refused_alike(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    owner, other = await platform.member(), await platform.member()
    theirs, unknown = await deliberation.start_task(owner), str(uuid4())
    async with open_socket(platform, other.token) as socket:
        for task_id in (theirs, unknown):
            await socket.send("subscribe", task_id)
            assert await socket.next() == {
                "type": "error",
                "error_code": "NOT_FOUND",
                "detail": "Task not found",
                "task_id": task_id,
            }
        assert platform.parts.hub.watched == 0


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "",
        "[]",
        '{"type": "subscribe"}',
        '{"type": "dance", "task_id": "x"}',
        '{"type": "subscribe", "task_id": 7}',
        '{"type": "subscribe", "task_id": "%s"}' % ("x" * 10_000),
        "[" * 100_000,
        b"\xff\xfe\x00",
    ],
    ids=["text", "empty", "list", "no-task", "unknown-type", "number", "long", "deep", "binary"],
)
async def test_a_message_that_is_not_understood_is_answered_and_the_socket_stays(
    platform: RunningPlatform, member: Caller, message: str | bytes
) -> None:
    task_id = await member.start_analysis()
    async with open_socket(platform, member.token) as socket:
        await socket.connection.send(message)
        answer = await socket.next()
        assert (answer["type"], answer["error_code"]) == ("error", "INVALID_REQUEST")
        assert '"type": "subscribe" or "unsubscribe"' in answer["detail"]
        await socket.send("subscribe", task_id)
        assert (await socket.until_final(task_id))[-1]["status"] == "completed"


async def test_a_subscription_may_come_as_a_binary_frame(platform: RunningPlatform, member: Caller) -> None:
    task_id = await member.start_analysis()
    async with open_socket(platform, member.token) as socket:
        await socket.connection.send(json.dumps({"type": "subscribe", "task_id": task_id}).encode())
        assert await socket.until_final(task_id)


@pytest.mark.parametrize("token", ["", "wrong", "mcp_live_wrong"])
async def test_without_a_token_that_holds_the_socket_is_refused_before_it_opens(
    platform: RunningPlatform, token: str
) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with open_socket(platform, token):
            raise AssertionError("it opened")
    response = refused.value.response
    assert response.status_code == 401
    assert json.loads(response.body)["error_code"] == "UNAUTHORIZED"
    assert response.headers["X-Request-ID"] == json.loads(response.body)["request_id"]


async def test_an_api_key_opens_the_socket_and_never_stands_in_a_log_line(
    platform: RunningPlatform, member: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    key = (await member.post("/api/v1/auth/api-keys", json={"name": "a screen"})).json()["key"]
    task_id = await member.start_analysis()
    with caplog.at_level(logging.DEBUG):
        for token in (key, member.token):
            async with open_socket(platform, token) as socket:
                await socket.send("subscribe", task_id)
                await socket.until_final(task_id)
        with pytest.raises(InvalidStatus):
            async with open_socket(platform, f"{member.token}x"):
                raise AssertionError("it opened")
    lines = [
        f"{record.msg} {record.args}"
        for record in caplog.records
        if not record.name.startswith("websockets.client")
    ]
    assert any("/ws" in line for line in lines)
    assert not any(key in line or member.token in line for line in lines)


async def test_a_client_that_vanishes_leaves_no_watcher(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as socket:
        await socket.send("subscribe", task_id)
        await socket.next()
        assert platform.parts.hub.watched == 1
        socket.connection.transport.abort()
        await nobody_watches(platform)


async def test_a_client_that_floods_the_socket_delays_nobody(
    platform: RunningPlatform, member: Caller, deliberation: Deliberation
) -> None:
    task_id = await deliberation.start_task(member)
    async with open_socket(platform, member.token) as noisy, open_socket(platform, member.token) as quiet:
        await quiet.send("subscribe", task_id)
        await quiet.next()
        flood = asyncio.create_task(_flood(noisy))
        try:
            deliberation.end()
            async with asyncio.timeout(PATIENCE / 2):
                assert (await quiet.until_final(task_id))[-1]["status"] == "completed"
            assert not flood.done()
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)
            noisy.connection.transport.abort()
    await nobody_watches(platform)


async def _flood(socket: Socket) -> None:
    while True:
        for _ in range(100):
            await socket.connection.send("?")
        await asyncio.sleep(0)
