"""The contract of registered MCPs."""

from datetime import timedelta
from uuid import uuid4

import pytest

from mcp_platform.contracts.deployments import DeploymentState
from mcp_platform.contracts.mcps import Mcp, McpStatus
from mcp_platform.errors import Conflict, NotFound
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.mcps import McpRepository
from tests.storage.crowd import crowd
from tests.storage.samples import NOON, deployment, mcp, report, stored_deployment, stored_mcp


async def update(database: Database, changed: Mcp, expected_revision: int) -> None:
    async with database.write() as session:
        await McpRepository(session).update(changed, expected_revision, uuid4())


async def delete(database: Database, gone: Mcp) -> bool:
    async with database.write() as session:
        return await McpRepository(session).delete(gone.id)


async def found_names(database: Database, search: str) -> set[str]:
    async with database.read() as session:
        page = await McpRepository(session).list(page=1, page_size=50, search=search)
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
        page = await McpRepository(session).list(page=1, page_size=10, status=McpStatus.ACTIVE)
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
        newer, older = await McpRepository(session).history(made.id)
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
        assert len(await McpRepository(session).history(made.id)) == 2


async def test_changing_an_mcp_that_is_gone_says_so(database: Database) -> None:
    with pytest.raises(NotFound):
        await update(database, mcp(revision=2), 1)


async def test_deleting_an_mcp_takes_its_history_along(database: Database) -> None:
    made = await stored_mcp(database)
    assert await delete(database, made)
    assert not await delete(database, made)
    async with database.read() as session:
        assert await McpRepository(session).get(made.id) is None
        assert await McpRepository(session).history(made.id) == []


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
                await DeploymentRepository(session).add(deployment(made))

        deployed, deleted = await crowd(2, lambda side: deploy() if side else delete(database, made))
        assert isinstance(deployed, Conflict) != isinstance(deleted, NotFound)

    for outcome in await crowd(10, race):
        assert outcome is None
