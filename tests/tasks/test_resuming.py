"""Coming back to `/events`: nothing that happened meanwhile is left out, wherever one comes back to."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from temporalio.client import Client

from api import listeners
from api.task_reader import TaskReader, TaskView
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.tasks import TaskRecord
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from mcp_platform.settings import CacheSettings, Settings, SqlSettings
from tests.platform import Caller, RunningPlatform, free_port, quick_settings, running_platform
from tests.services.redis import redis_server
from tests.services.temporal import new_namespace
from tests.tasks.sockets import EventStream, open_events, open_socket
from tests.tasks.states import Deliberation
from tests.waiting import PATIENCE, eventually, in_one_task

pytestmark = pytest.mark.usefixtures("patient_queries")

FAR = {"name": "far", "url": "http://127.0.0.1:9/mcp"}


async def leave(caller: Caller) -> str:
    """Listen until there is an id, and leave; that id."""
    async with open_events(caller) as stream:
        line = await stream.line()
        assert line.startswith("id: ")
        return line.removeprefix("id: ")


async def told(stream: EventStream, *subjects: str) -> dict[str, dict[str, Any]]:
    """Receive events until each of these was told; the first about each."""
    seen: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(PATIENCE):
        while not seen.keys() >= set(subjects):
            _, data = await stream.next()
            seen.setdefault(data.get("task_id") or data["deployment_id"], data)
    return seen


async def test_what_ended_while_one_was_away_is_told(
    platform: RunningPlatform, deliberation: Deliberation
) -> None:
    member, other = await platform.member(), await platform.member()
    begun = await deliberation.start_task(member)
    last_id = await leave(member)
    deliberation.end()
    theirs = await other.start_analysis()
    quick = await member.start_analysis()
    deployed = await member.deploy(FAR | {"headers": {"X-Key": "${NOT_SET_ANYWHERE}"}})
    deployment_id = deployed["deployment_id"]
    for caller, task_id in ((member, begun), (member, quick), (other, theirs)):
        await caller.task_is(task_id, "completed")
    failed = await member.deployment_is(deployment_id, "failed")
    async with open_events(member, last_id) as stream:
        seen = await told(stream, begun, quick, deployment_id)
    assert theirs not in seen
    for task_id in (begun, quick):
        assert (seen[task_id]["type"], seen[task_id]["status"]) == ("task_update", "completed")
        assert seen[task_id]["result"] == (await member.task_is(task_id, "completed"))["result"]
    found = seen[deployment_id]
    assert (found["type"], found["status"]) == (EventType.DEPLOYMENT_STATUS, "failed")
    assert (found["tool_id"], found["healthy"], found["replicas"]) == (deployed["tool_id"], 0, 1)
    assert "NOT_SET_ANYWHERE" in found["reason"]
    assert failed["status"] == "failed"
    assert (await member.delete(f"/api/v1/deployments/{deployment_id}")).status_code == 200


async def test_a_replayed_deployment_is_told_as_when_it_happened(platform: RunningPlatform) -> None:
    member = await platform.member()
    last_id = await leave(member)
    async with open_events(member) as stream:
        deployed = await member.deploy(FAR | {"headers": {"X-Key": "${NOT_SET_ANYWHERE}"}})
        live = (await stream.until(deployed["deployment_id"], "failed"))[-1]
        async with open_events(member, last_id) as again:
            replayed = (await again.until(deployed["deployment_id"], "failed"))[-1]
    assert replayed.keys() == live.keys()
    changing = ("reason", "healthy")
    assert {k: v for k, v in replayed.items() if k not in changing} == {
        k: v for k, v in live.items() if k not in changing
    }
    assert (await member.delete(f"/api/v1/deployments/{deployed['deployment_id']}")).status_code == 200


@pytest.mark.parametrize("last_id", ["", "yesterday", "-1", "1.5", "9" * 400, "٣", "99999999999999"])
async def test_an_id_that_is_none_of_ours_is_a_new_beginning(
    platform: RunningPlatform, deliberation: Deliberation, last_id: str
) -> None:
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    parameters = {"token": member.token, "last_event_id": last_id}
    async with member.stream("GET", "/events", params=parameters) as response:
        assert response.status_code == 200
        assert (await told(EventStreamAfterGreeting(response), task_id))[task_id]["status"] == "running"


class EventStreamAfterGreeting(EventStream):
    """A stream whose first line was not read yet."""

    async def line(self) -> str:
        """Receive the next line, but not the greeting."""
        line = await super().line()
        return line if line != ": connected" else await super().line()


async def test_an_id_promises_nothing_that_could_not_be_told(
    platform: RunningPlatform, deliberation: Deliberation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_OVERLAP", 0.0)
    member = await platform.member()
    task_id = await deliberation.start_task(member)
    view = TaskReader.view

    async def fail(self: TaskReader, record: TaskRecord, **options: Any) -> TaskView:
        if record.task_id == task_id:
            raise Unavailable("The database cannot be reached", part="database")
        return await view(self, record, **options)

    async def recorded() -> bool:
        async with platform.parts.stores.read() as rows:
            record = await rows.tasks.get(task_id)
        return record is not None and record.status.final

    async def behind() -> float | None:
        return platform.parts.hub.behind_since

    async with open_events(member) as stream:
        await told(stream, task_id)
        with patch.object(TaskReader, "view", fail):
            deliberation.end()
            await eventually(recorded)
            await eventually(behind)
            other = {"deployment_id": str(uuid4()), "tool_id": str(uuid4()), "status": "running"}
            event = Event(type=EventType.DEPLOYMENT_STATUS, owner_id=uuid4(), data=other)
            await platform.parts.stores.publish(Channel.EVENTS, event)
            assert task_id not in await told(stream, other["deployment_id"])
    async with open_events(member, stream.last_id) as stream:
        assert (await told(stream, task_id))[task_id]["status"] == "completed"


async def test_more_than_may_wait_is_told_to_who_comes_back(
    platform: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "_AT_ONCE", 3)
    monkeypatch.setattr(listeners, "_FULL_WAIT", 0.001)
    api = platform.settings.api.model_copy(update={"listener_backlog": 4})
    member = await platform.member()
    last_id = await leave(member)
    tasks = [await member.start_analysis() for _ in range(10)]
    for task_id in tasks:
        await member.task_is(task_id, "completed")
    small = platform.settings.model_copy(update={"api": api})
    object.__setattr__(platform.parts, "settings", small)
    try:
        async with open_events(member, last_id) as stream:
            seen = await told(stream, *tasks)
    finally:
        object.__setattr__(platform.parts, "settings", platform.settings)
    assert {seen[task_id]["status"] for task_id in tasks} == {"completed"}


@pytest.fixture
def own_redis() -> Any:
    """Give a folder for a Redis of the test's own."""
    with tempfile.TemporaryDirectory(prefix="mcp-platform-redis-") as folder:
        yield Path(folder)


def beside(settings: Settings, folder: Path) -> Settings:
    """Give the settings of another process of the same platform."""
    return settings.model_copy(
        update={"api": settings.api.model_copy(update={"port": free_port()}), "data_dir": folder}
    )


@pytest.fixture
async def shared(tmp_path: Path, database_url: str, redis_url: str) -> Settings:
    """Give settings of a platform on a real database and a real Redis."""
    return quick_settings(tmp_path).model_copy(
        update={
            "sql": SqlSettings.model_validate({"url": database_url}),
            "cache": CacheSettings.model_validate({"url": redis_url}),
        }
    )


@pytest.fixture
async def two(shared: Settings, temporal: Client) -> AsyncIterator[tuple[RunningPlatform, RunningPlatform]]:
    """Give two API processes of one platform; the worker lives beside the first."""
    client = await new_namespace(temporal)
    async with (
        in_one_task(running_platform(shared, client)) as first,
        in_one_task(running_platform(beside(shared, shared.data_dir), client, with_worker=False)) as second,
    ):
        yield first, second


def at(platform: RunningPlatform, caller: Caller) -> Caller:
    """Give the same person at another process."""
    other = platform.caller()
    other.headers["Authorization"] = caller.headers["Authorization"]
    return other


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
async def test_several_processes_tell_the_same(
    two: tuple[RunningPlatform, RunningPlatform], deliberation: Deliberation
) -> None:
    first, second = two
    member = await first.member()
    elsewhere = at(second, member)
    begun = await deliberation.start_task(member)
    last_id = await leave(member)
    async with open_events(elsewhere) as stream, open_socket(second, member.token) as socket:
        await socket.send("subscribe", begun)
        assert (await socket.next())["status"] == "running"
        deliberation.end()
        assert (await socket.until_final(begun))[-1]["status"] == "completed"
        assert (await stream.until(begun, "completed"))[-1]["result"]
        later = await member.start_analysis()
        assert (await stream.until(later, "completed"))[-1]["result"]
        # Who comes back to the other process is told what the first one never could.
        async with open_events(elsewhere, last_id) as resumed:
            seen = await told(resumed, begun, later)
            assert {seen[begun]["status"], seen[later]["status"]} == {"completed"}
        # A session that is ended at one process ends its streams at the other.
        await member.post("/api/v1/auth/logout")
        async with asyncio.timeout(10):
            while (await stream.next())[0] != "error":
                pass


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
async def test_an_api_that_was_restarted_tells_what_happened_meanwhile(
    shared: Settings, temporal: Client
) -> None:
    client = await new_namespace(temporal)
    other = beside(shared, shared.data_dir)
    async with in_one_task(running_platform(other, client)) as worker:
        member = await worker.member()
        async with in_one_task(running_platform(shared, client, with_worker=False)) as api:
            last_id = await leave(at(api, member))
        task_id = await member.start_analysis()
        await member.task_is(task_id, "completed")
        async with (
            in_one_task(running_platform(shared, client, with_worker=False)) as api,
            open_events(at(api, member), last_id) as stream,
        ):
            assert (await told(stream, task_id))[task_id]["status"] == "completed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_what_happens_while_redis_is_away_is_told_when_it_is_back(
    shared: Settings, temporal: Client, own_redis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await new_namespace(temporal)
    with ExitStack() as running:
        url = running.enter_context(redis_server(own_redis))
        settings = shared.model_copy(update={"cache": CacheSettings.model_validate({"url": url})})
        async with in_one_task(running_platform(settings, client)) as platform:
            member = await platform.member()
            async with open_events(member) as stream:
                await stream.line()
                running.close()

                async def deaf() -> float | None:
                    return platform.parts.listeners._deaf_since

                since = await eventually(deaf)
                assert since is not None
                task_id = await member.start_analysis()
                await member.task_is(task_id, "completed")
                with redis_server(own_redis):
                    assert (await stream.until(task_id, "completed"))[-1]["result"]
                    assert stream.last_id is not None
                    await eventually(deaf, lambda moment: moment is None)
