"""`/events`: what a caller may hear, while it happens."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from temporalio.client import Client

from api import live
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.names import Channel
from tests.platform import Caller, RunningPlatform, free_port, quick_settings, running_platform
from tests.services.temporal import new_namespace
from tests.tasks.sockets import FINAL, EventStream, open_events
from tests.tasks.states import Deliberation
from tests.waiting import PATIENCE, in_one_task

pytestmark = pytest.mark.usefixtures("patient_queries")


async def final_state(stream: EventStream, task_id: str) -> list[str]:
    """Listen until a task is final; all its states that were told."""
    states: list[str] = []
    while not states or states[-1] not in FINAL:
        name, data = await stream.next()
        if name == "task_update" and data["task_id"] == task_id:
            assert data["type"] == "task_update"
            states.append(data["status"])
    return states


async def test_tasks_that_were_started_before_and_after_connecting_are_told(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member = await platform.member()
    before = await deliberation.start_task(member)
    async with open_events(member) as stream:
        (first,) = await stream.until(before, "running")
        assert first["type"] == "task_update"
        deliberation.end()
        assert (await final_state(stream, before))[-1] == "completed"
        after = await member.start_analysis()
        assert (await final_state(stream, after))[-1] == "completed"


async def test_somebody_elses_tasks_are_not_told_but_to_an_administrator(
    platform: RunningPlatform,
) -> None:
    owner, other, admin = await platform.member(), await platform.member(), await platform.admin()
    async with open_events(other) as stream, open_events(admin) as all_tasks:
        theirs = await owner.start_analysis()
        assert (await final_state(all_tasks, theirs))[-1] == "completed"
        own = await other.start_analysis()
        while True:
            name, data = await stream.next()
            if name == "task_update":
                assert data["task_id"] == own
                if data["status"] in FINAL:
                    break


async def test_what_becomes_of_a_deployment_is_told(platform: RunningPlatform) -> None:
    member = await platform.member()
    async with open_events(await platform.member("viewer")) as stream:
        far = {"name": "far", "url": f"http://127.0.0.1:{free_port()}/mcp"}
        started = await member.deploy(far | {"headers": {"X-Key": "${NOT_SET_ANYWHERE}"}})
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["status"] != "failed":
            name, data = await stream.next()
            if name == "deployment_status" and data["deployment_id"] == started["deployment_id"]:
                seen.append(data)
    assert seen[-1]["type"] == "deployment_status"
    assert seen[-1]["health_status"] == "unhealthy"
    assert seen[-1]["tool_id"] == started["tool_id"]
    assert "NOT_SET_ANYWHERE" in seen[-1]["reason"]
    assert (await member.delete(f"/api/v1/deployments/{started['deployment_id']}")).status_code == 200


async def test_a_quiet_stream_beats(platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_HEARTBEAT", 0.05)
    async with open_events(await platform.member()) as stream:
        lines = [await stream.line() for _ in range(6)]
    assert lines.count(": still here") in {2, 3}
    assert all(line.startswith((": still here", "id: ")) for line in lines)


@pytest.mark.parametrize("token", ["", "wrong"])
async def test_without_a_token_that_holds_nothing_is_streamed(platform: RunningPlatform, token: str) -> None:
    answer = await platform.caller().get("/events", params={"token": token})
    assert answer.status_code == 401
    assert answer.json()["error_code"] == "UNAUTHORIZED"


async def test_the_token_never_stands_in_a_log_line(
    platform: RunningPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    member = await platform.member()
    with caplog.at_level(logging.DEBUG):
        async with open_events(member):
            pass
        await platform.caller().get("/events", params={"token": f"{member.token}x"})
    lines = [f"{record.msg} {record.args}" for record in caplog.records if "httpcore" not in record.name]
    assert any("/events" in line for line in lines)
    assert not any(member.token in line for line in lines)


@pytest.fixture
async def short_of_memory(tmp_path: Path, temporal: Client) -> AsyncIterator[RunningPlatform]:
    """Give a platform whose listeners may have little unsent news."""
    settings = quick_settings(tmp_path)
    settings = settings.model_copy(update={"api": settings.api.model_copy(update={"listener_backlog": 10})})
    client = await new_namespace(temporal)
    async with in_one_task(running_platform(settings, client, with_worker=False)) as running:
        yield running


async def test_a_listener_that_never_reads_delays_nobody_and_is_cut_off(
    short_of_memory: RunningPlatform,
) -> None:
    admin = await short_of_memory.admin()
    stuck = await _listen_and_never_read(short_of_memory, admin)
    reader, writer = stuck
    try:
        async with open_events(admin) as stream:
            for number in range(100):
                deployment_id = await _publish_a_long_story(short_of_memory)
                name, data = await stream.next()
                assert (name, data["deployment_id"]) == ("deployment_status", str(deployment_id)), number
        # The one that never read gets what was on its way, and then the end.
        async with asyncio.timeout(PATIENCE):
            story = await reader.read()
        assert 0 < story.count(b"event: deployment_status") < 100
    finally:
        writer.close()


async def _listen_and_never_read(
    platform: RunningPlatform, caller: Caller
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open `/events`, and take in its head alone."""
    api = platform.settings.api
    reader, writer = await asyncio.open_connection(api.host, api.port, limit=1024)
    request = f"GET /events?token={caller.token} HTTP/1.1\r\nHost: {api.host}\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    async with asyncio.timeout(PATIENCE):
        await reader.readuntil(b": connected")
    return reader, writer


async def _publish_a_long_story(platform: RunningPlatform) -> UUID:
    deployment_id = uuid4()
    data = {"deployment_id": str(deployment_id), "tool_id": str(uuid4()), "reason": "x" * 100_000}
    event = Event(type=EventType.DEPLOYMENT_STATUS, owner_id=uuid4(), data=data)
    await platform.parts.stores.publish(Channel.EVENTS, event)
    return deployment_id
