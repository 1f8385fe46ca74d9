"""The contract of registered MCPs."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from mcp_platform.contracts.deployments import DeploymentState
from mcp_platform.contracts.mcps import Mcp, McpConfig, McpFilter, McpOrder, McpStatus
from mcp_platform.contracts.tasks import TaskKind, TaskState
from mcp_platform.errors import Conflict, NotFound
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.mcps import McpRepository
from storage.sql.registry import RegistryRepository
from storage.sql.tasks import TaskRepository
from tests.storage.crowd import crowd
from tests.storage.samples import (
    NOON,
    add_deployment,
    deployment,
    mcp,
    report,
    stored_deployment,
    stored_mcp,
    task,
)


async def update(database: Database, changed: Mcp, expected_revision: int) -> None:
    async with database.write() as session:
        await McpRepository(session).update(changed, expected_revision, uuid4())


async def delete(database: Database, gone: Mcp) -> bool:
    async with database.write() as session:
        return await McpRepository(session).delete(gone.id)


async def found_names(database: Database, search: str) -> set[str]:
    async with database.read() as session:
        page = await McpRepository(session).list(McpFilter(search=search), page=1, page_size=50)
    assert page.total == len(page.items)
    return {item.name for item in page.items}


async def test_an_mcp_is_found_by_id_and_by_slug(database: Database) -> None:
    made = await stored_mcp(database, description="时间 ⏰")
    async with database.read() as session:
        mcps = McpRepository(session)
        assert await mcps.get(made.id) == made
        assert await mcps.get_by_slug(made.slug) == made
        assert await mcps.get(uuid4()) is None
        assert await mcps.get_by_slug("none") is None


async def test_of_many_who_want_one_slug_exactly_one_gets_it(database: Database) -> None:
    outcomes = await crowd(24, lambda number: stored_mcp(database, slug="clock"))
    conflicts = [outcome for outcome in outcomes if isinstance(outcome, Conflict)]
    assert len(conflicts) == 23
    assert {conflict.fields["slug"] for conflict in conflicts} == {"clock"}


async def test_pages_are_newest_first_and_neither_overlap_nor_leave_gaps(database: Database) -> None:
    same_moment = [await stored_mcp(database) for _ in range(5)]
    newest = await stored_mcp(database, created_at=NOON + timedelta(microseconds=1))
    listed: list[Mcp] = []
    async with database.read() as session:
        for number in (1, 2, 3, 4):
            page = await McpRepository(session).list(page=number, page_size=2)
            assert page.total == 6
            listed += page.items
    assert listed[0] == newest
    assert len(listed) == 6
    assert {item.id for item in listed[1:]} == {item.id for item in same_moment}


async def test_a_list_can_be_narrowed_by_status(database: Database) -> None:
    await stored_mcp(database)
    active = await stored_mcp(database, status=McpStatus.ACTIVE)
    async with database.read() as session:
        page = await McpRepository(session).list(McpFilter(status=McpStatus.ACTIVE), page=1, page_size=10)
    assert page.items == [active]
    assert page.total == 1


async def test_a_search_takes_every_character_literally_and_no_case_seriously(database: Database) -> None:
    await stored_mcp(database, name="100% sure", description="")
    await stored_mcp(database, name="100 Äpfel", description="snake_case")
    await stored_mcp(database, name="Kamel", description="snakeXcase 时间")
    assert await found_names(database, "100%") == {"100% sure"}
    assert await found_names(database, "snake_") == {"100 Äpfel"}
    assert await found_names(database, "ÄPFEL") == {"100 Äpfel"}
    assert await found_names(database, "时间") == {"Kamel"}
    assert await found_names(database, "/") == set()
    assert await found_names(database, "\\") == set()


async def test_each_change_leaves_an_entry_in_the_history(database: Database) -> None:
    made = await stored_mcp(database)
    changed = made.model_copy(
        update={
            "version": "1.1.0",
            "config_key": "config-2",
            "status": McpStatus.ACTIVE,
            "revision": 2,
            "updated_at": NOON + timedelta(hours=1),
        }
    )
    await update(database, changed, 1)
    async with database.read() as session:
        assert await McpRepository(session).get(made.id) == changed
        newer, older = (await McpRepository(session).history(made.id)).items
    assert (older.change_type, older.version, older.config_key) == ("create", "1.0.0", "config-1")
    assert older.changed_by == made.author_id
    assert (newer.change_type, newer.version, newer.config_key) == ("update", "1.1.0", "config-2")
    assert newer.changed_at == changed.updated_at


async def test_of_many_who_change_one_revision_exactly_one_wins(database: Database) -> None:
    made = await stored_mcp(database)

    async def change(number: int) -> int:
        await update(database, made.model_copy(update={"name": f"name {number}", "revision": 2}), 1)
        return number

    outcomes = await crowd(24, change)
    winners = [outcome for outcome in outcomes if isinstance(outcome, int)]
    assert len(winners) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 23
    async with database.read() as session:
        found = await McpRepository(session).get(made.id)
        assert found is not None
        assert found.name == f"name {winners[0]}"
        assert (await McpRepository(session).history(made.id)).total == 2


async def test_changing_an_mcp_that_is_gone_says_so(database: Database) -> None:
    with pytest.raises(NotFound):
        await update(database, mcp(revision=2), 1)


async def test_deleting_an_mcp_takes_its_history_along(database: Database) -> None:
    made = await stored_mcp(database)
    assert await delete(database, made)
    assert not await delete(database, made)
    async with database.read() as session:
        assert await McpRepository(session).get(made.id) is None
        assert (await McpRepository(session).history(made.id)).items == []


async def test_an_mcp_can_be_deleted_only_while_it_is_not_deployed(database: Database) -> None:
    deployed = await stored_deployment(database)
    async with database.read() as session:
        of = await McpRepository(session).get(deployed.mcp_id)
    assert of is not None
    with pytest.raises(Conflict) as caught:
        await delete(database, of)
    assert caught.value.fields["deployment_id"] == str(deployed.id)
    async with database.write() as session:
        await DeploymentRepository(session).report(report(deployed, status=DeploymentState.STOPPED))
    assert await delete(database, of)
    async with database.read() as session:
        assert await DeploymentRepository(session).get(deployed.id) is not None


async def test_an_mcp_is_never_both_deleted_and_deployed(database: Database) -> None:
    async def race(number: int) -> None:
        made = await stored_mcp(database)

        async def deploy() -> None:
            async with database.write() as session:
                await add_deployment(session, deployment(made))

        deployed, deleted = await crowd(2, lambda side: deploy() if side else delete(database, made))
        assert isinstance(deployed, Conflict) != isinstance(deleted, NotFound)

    for outcome in await crowd(10, race):
        assert outcome is None


async def test_tags_and_tools_are_searched_and_names_come_first(database: Database) -> None:
    config = McpConfig.model_validate({"tools": [{"name": "rain", "description": "Tells of Äpfel"}]})
    tooled = mcp(name="Sky", description="", created_at=NOON + timedelta(hours=1))
    async with database.write() as session:
        await McpRepository(session).add(tooled, tooled.author_id, config)
    await stored_mcp(database, name="Rain Äpfel", description="")
    await stored_mcp(database, name="other", tags=["rain"], description="äpfel")
    async with database.read() as session:
        page = await McpRepository(session).list(McpFilter(search="äpfel RAIN"), page=1, page_size=9)
    assert page.items[0].name == "Rain Äpfel"
    assert {item.name for item in page.items} == {"Rain Äpfel", "Sky", "other"}
    assert await found_names(database, "rain nothing") == set()


async def test_lists_are_narrowed_by_tags_author_and_ids(database: Database) -> None:
    one = await stored_mcp(database, name="one", tags=["a", "b"])
    two = await stored_mcp(database, name="two", tags=["a"])

    async def names(**wanted: Any) -> list[str]:
        async with database.read() as session:
            mcps = McpRepository(session)
            page = await mcps.list(
                McpFilter(**wanted), page=1, page_size=9, sort=McpOrder.NAME, ascending=True
            )
        return [item.name for item in page.items]

    assert await names(tags=["a"]) == ["one", "two"]
    assert await names(tags=["a", "b"]) == ["one"]
    assert await names(author_id=two.author_id) == ["two"]
    assert await names(ids=frozenset({one.id})) == ["one"]
    assert await names(ids=frozenset()) == []
    async with database.read() as session:
        mcps = McpRepository(session)
        assert [(each.tag, each.count) for each in await mcps.tags()] == [("a", 2), ("b", 1)]
        assert [(each.tag, each.count) for each in await mcps.tags({two.id})] == [("a", 1)]
        assert (await mcps.get(one.id)) == one
        walked = await mcps.walk(None, None, 1)
        walked += await mcps.walk(None, walked[0].id, 1)
        assert {each.id for each in walked} == {one.id, two.id}
        assert await mcps.walk(None, walked[1].id, 1) == []


async def test_while_its_deletion_is_open_an_mcp_is_not_deployed(database: Database) -> None:
    first = await stored_deployment(database)
    record = task(kind=TaskKind.MCP_DELETION)

    async def begin(task_id: str) -> str | None:
        async with database.write() as session:
            if task_id == record.task_id:
                await TaskRepository(session).add(record)
            return await McpRepository(session).begin_deletion(first.mcp_id, task_id)

    assert await begin(record.task_id) == record.task_id
    assert await begin("a second one") == record.task_id
    async with database.write() as session:
        await DeploymentRepository(session).report(report(first, status=DeploymentState.STOPPED))
        of = await McpRepository(session).get(first.mcp_id)
    assert of is not None
    with pytest.raises(Conflict, match="being deleted") as refused:
        async with database.write() as session:
            await add_deployment(session, deployment(of))
    assert refused.value.fields["task_id"] == record.task_id
    async with database.write() as session:
        await TaskRepository(session).settle(
            record.task_id,
            status=TaskState.FAILED,
            message="",
            error="lost",
            result_key=None,
            progress=0,
            completed_at=NOON,
        )
        await add_deployment(session, deployment(of))


async def test_of_many_deletions_and_deployments_at_once_one_side_wins(database: Database) -> None:
    async def race(number: int) -> None:
        first = await stored_deployment(database)
        record = task(kind=TaskKind.MCP_DELETION)
        async with database.read() as session:
            of = await McpRepository(session).get(first.mcp_id)
        assert of is not None

        async def act(side: int) -> str | None:
            async with database.write() as session:
                if side:
                    await DeploymentRepository(session).report(report(first, status=DeploymentState.STOPPED))
                    await add_deployment(session, deployment(of))
                    return None
                marked = await McpRepository(session).begin_deletion(of.id, record.task_id)
                await TaskRepository(session).add(record)
                return marked

        marked, deployed = await crowd(2, act)
        assert marked == record.task_id
        assert deployed is None or isinstance(deployed, Conflict)

    for outcome in await crowd(10, race):
        assert outcome is None


async def test_a_revision_is_found_by_number_or_as_the_newest_of_its_version(database: Database) -> None:
    made = await stored_mcp(database, tags=["old"])
    for number in (2, 3):
        changed = made.model_copy(update={"revision": number, "name": f"name {number}", "tags": []})
        await update(database, changed, number - 1)
    async with database.read() as session:
        mcps = McpRepository(session)
        newest, first = await mcps.revision(made.id, "1.0.0"), await mcps.revision(made.id, 1)
        assert newest is not None
        assert first is not None
        assert (newest.revision, first.revision) == (3, 1)
        assert first.fields == {
            "name": "Time",
            "description": "Tells the time",
            "status": "draft",
            "tags": ["old"],
        }
        assert await mcps.revision(made.id, 4) is None
        assert await mcps.revision(made.id, "2.0.0") is None


async def test_the_registry_shows_each_version_of_published_mcps_once_and_in_order(
    database: Database,
) -> None:
    made = await stored_mcp(database, slug="a", status=McpStatus.ACTIVE)
    await update(database, made.model_copy(update={"revision": 2}), 1)
    await update(database, made.model_copy(update={"revision": 3, "version": "1.1.0"}), 2)
    await stored_mcp(database, slug="b", status=McpStatus.DEPRECATED)
    await stored_mcp(database, slug="c", status=McpStatus.DRAFT)
    await stored_mcp(database, slug="d", status=McpStatus.ARCHIVED)

    async def found(**wanted: Any) -> list[tuple[str, int, bool]]:
        async with database.read() as session:
            listed = await RegistryRepository(session).list(**({"limit": 10} | wanted))
        return [(each.slug, each.entry.revision, each.latest) for each in listed]

    everything = [("a", 2, False), ("a", 3, True), ("b", 1, True)]
    assert await found() == everything
    assert await found(limit=1) == everything[:1]
    assert await found(after=("a", 2)) == everything[1:]
    assert await found(after=("a", 3)) == everything[2:]
    assert await found(version="latest") == everything[1:]
    assert await found(version="1.0.0") == [everything[0], everything[2]]
    assert await found(search="b") == everything[2:]
    assert await found(updated_since=NOON + timedelta(days=1)) == []
    assert await found(ids=frozenset({made.id})) == everything[:2]
    async with database.read() as session:
        versions = await RegistryRepository(session).versions("a", None)
        assert [each.entry.version for each in versions] == ["1.1.0", "1.0.0"]
        assert await RegistryRepository(session).versions("c", None) == []
