"""The contract of tasks."""

from datetime import timedelta
from uuid import uuid4

import pytest

from mcp_platform.contracts.tasks import FINAL_STATES, TaskKind, TaskRecord, TaskState
from storage.sql.engine import Database
from storage.sql.tasks import TaskRepository
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, task


async def stored(database: Database, **changes: object) -> TaskRecord:
    new = task(**changes)
    async with database.write() as session:
        await TaskRepository(session).add(new)
    return new


async def found(database: Database, task_id: str) -> TaskRecord | None:
    async with database.read() as session:
        return await TaskRepository(session).get(task_id)


async def settle(database: Database, task_id: str, status: TaskState, message: str = "") -> bool:
    async with database.write() as session:
        return await TaskRepository(session).settle(
            task_id,
            status=status,
            message=message,
            error=None,
            result_key="result",
            progress=100,
            completed_at=NOON,
        )


async def test_a_task_is_found_as_it_was_added(database: Database) -> None:
    made = await stored(database, message="waiting")
    assert await found(database, made.task_id) == made
    assert await found(database, "none") is None


async def test_adding_a_task_again_changes_nothing(database: Database) -> None:
    made = await stored(database)
    assert await settle(database, made.task_id, TaskState.COMPLETED)
    async with database.write() as session:
        await TaskRepository(session).add(made)
    again = await found(database, made.task_id)
    assert again is not None
    assert again.status is TaskState.COMPLETED


async def test_a_task_begins_once_and_not_after_its_end(database: Database) -> None:
    made, ended = await stored(database), await stored(database)
    await settle(database, ended.task_id, TaskState.CANCELLED)
    async with database.write() as session:
        tasks = TaskRepository(session)
        assert await tasks.begin(made.task_id)
        assert not await tasks.begin(made.task_id)
        assert not await tasks.begin(ended.task_id)
        assert not await tasks.begin("none")


async def test_lists_are_newest_first_and_narrowed_by_owner_and_status_and_kind(database: Database) -> None:
    owner = uuid4()
    old = await stored(database, owner_id=owner)
    new = await stored(database, owner_id=owner, created_at=NOON + timedelta(seconds=1))
    other = await stored(database, created_at=NOON - timedelta(seconds=1), status=TaskState.RUNNING)
    async with database.read() as session:
        tasks = TaskRepository(session)
        mine = await tasks.list(owner_id=owner, page=1, page_size=10)
        everybody = await tasks.list(owner_id=None, page=1, page_size=2)
        running = await tasks.list(
            owner_id=None, page=1, page_size=10, status=TaskState.RUNNING, kind=TaskKind.FEASIBILITY
        )
    assert (mine.items, mine.total) == ([new, old], 2)
    assert (everybody.items, everybody.total) == ([new, old], 3)
    assert (running.items, running.total) == ([other], 1)


@pytest.mark.parametrize("status", sorted(FINAL_STATES))
async def test_the_first_end_counts(database: Database, status: TaskState) -> None:
    made = await stored(database)
    assert await settle(database, made.task_id, status, "the end")
    assert not await settle(database, made.task_id, TaskState.COMPLETED, "another end")
    assert not await settle(database, "none", TaskState.COMPLETED)
    expected = made.model_copy(
        update={
            "status": status,
            "message": "the end",
            "progress": 100,
            "result_key": "result",
            "completed_at": NOON,
        }
    )
    assert await found(database, made.task_id) == expected


async def test_of_many_ends_at_once_exactly_one_counts(database: Database) -> None:
    made = await stored(database)
    states = sorted(FINAL_STATES)

    async def end(number: int) -> int | None:
        status = states[number % len(states)]
        return number if await settle(database, made.task_id, status, f"end {number}") else None

    outcomes = await crowd(24, end)
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(winners) == 1
    assert outcomes.count(None) == 23
    ended = await found(database, made.task_id)
    assert ended is not None
    assert (ended.status, ended.message) == (states[winners[0] % len(states)], f"end {winners[0]}")


async def test_open_tasks_are_those_that_have_not_ended_oldest_first(database: Database) -> None:
    running = await stored(database, status=TaskState.RUNNING)
    pending = await stored(database, created_at=NOON - timedelta(seconds=1))
    for status in FINAL_STATES:
        await stored(database, status=status)
    async with database.read() as session:
        assert await TaskRepository(session).open_tasks() == [pending, running]
        assert await TaskRepository(session).open_tasks(running.owner_id) == [running]


async def test_text_that_no_database_would_take_is_stored_as_far_as_it_can_be(database: Database) -> None:
    made = await stored(database)
    foreign = "\ud800" + "x" * 100_000
    assert await settle(database, made.task_id, TaskState.FAILED, foreign)
    ended = await found(database, made.task_id)
    assert ended is not None
    assert ended.message.startswith("?xxx")
    assert len(ended.message) == 10_000
