"""The catalogue grows by what a registry has, whatever that registry does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.clients.server_registry import ServerRegistry
from activities.known import KnownActivities
from gateway.discovery.known_servers import KnownServers
from mcp_platform.contracts.known import KnownMatch, KnownServer, RefreshOutcome
from mcp_platform.settings import Settings
from storage.sql.engine import Database
from storage.stores import Stores, open_stores
from tests.known.registry import EVENING, MORNING, NOON, Registry, entry, npm


@dataclass
class Catalogue:
    """The catalogue of one worker."""

    stores: Stores
    servers: KnownServers
    activities: KnownActivities

    async def refresh(self) -> RefreshOutcome:
        """Read what is new."""
        environment = ActivityEnvironment()
        environment.info = replace(environment.info, heartbeat_timeout=timedelta(seconds=10))
        outcome: RefreshOutcome = await environment.run(self.activities.refresh)
        return outcome

    async def known(self) -> dict[str, KnownServer]:
        """Give what it has of the registry."""
        async with self.stores.read() as rows:
            return {server.slug: server for server in await rows.known_servers.list()}

    async def find(self, text: str) -> list[KnownMatch]:
        """Search it."""
        return await self.servers.find(text, 5)


@asynccontextmanager
async def opened(stores: Stores, source: str, timeout: float = 5.0) -> AsyncIterator[Catalogue]:
    """Open a worker's catalogue."""
    client = ServerRegistry(source, timeout)
    servers = KnownServers(stores)
    try:
        yield Catalogue(stores, servers, KnownActivities(servers, stores, client))
    finally:
        await client.close()


@pytest.fixture
async def stores(sqlite_database: Database, tmp_path: Any) -> AsyncIterator[Stores]:
    """Give empty stores."""
    async with open_stores(Settings(data_dir=tmp_path)) as opened_stores:
        yield opened_stores


@pytest.fixture
async def catalogue(stores: Stores, registry: Registry) -> AsyncIterator[Catalogue]:
    """Give a catalogue that reads the registry."""
    async with opened(stores, registry.url) as own:
        yield own


def fleet(count: int, changed: str = MORNING) -> list[dict[str, Any]]:
    """Give entries of servers."""
    return [npm(f"com.example/server-{number}", f"package-{number}", changed) for number in range(count)]


async def test_all_pages_are_read_and_kept(catalogue: Catalogue, registry: Registry) -> None:
    registry.entries = fleet(5)
    assert await catalogue.refresh() == RefreshOutcome(complete=True, pages=3, written=5)
    known = await catalogue.known()
    assert len(known) == 5
    server = known["com-example-server-3"]
    assert (server.command, server.args) == ("npx", ["-y", "package-3@1.2.3"])
    assert (server.origin, server.tried, server.offline) == ("registry", False, False)
    assert {each["version"] for each in registry.asked} == {"latest"}


async def test_the_next_run_asks_only_for_what_is_new(catalogue: Catalogue, registry: Registry) -> None:
    registry.entries = fleet(3)
    await catalogue.refresh()
    registry.entries += [npm("com.example/new", "new-package", NOON)]
    registry.asked.clear()
    outcome = await catalogue.refresh()
    assert outcome.complete
    assert {each["updated_since"] for each in registry.asked} == {MORNING}
    assert len(await catalogue.known()) == 4
    await catalogue.refresh()
    assert registry.asked[-1]["updated_since"] == NOON


async def test_a_changed_server_replaces_what_was_known_and_a_deleted_one_is_forgotten(
    catalogue: Catalogue, registry: Registry
) -> None:
    registry.entries = fleet(3)
    await catalogue.refresh()
    changed = npm("com.example/server-0", "package-0", NOON, version="2.0.0")
    registry.entries = [changed, entry(registry.entries[1]["server"], EVENING, status="deleted")]
    assert await catalogue.refresh() == RefreshOutcome(complete=True, pages=1, written=1, removed=1)
    known = await catalogue.known()
    assert known["com-example-server-0"].version == "2.0.0"
    assert sorted(known) == ["com-example-server-0", "com-example-server-2"]


async def test_an_outage_in_the_middle_is_gone_on_from(catalogue: Catalogue, registry: Registry) -> None:
    registry.entries = fleet(6)
    registry.away_after = 2
    outcome = await catalogue.refresh()
    assert not outcome.complete
    assert outcome.reason == "The registry of MCP servers answers with status 503"
    assert len(await catalogue.known()) == 4
    registry.away_after = None
    registry.asked.clear()
    assert await catalogue.refresh() == RefreshOutcome(complete=True, pages=1, written=2)
    assert [each.get("cursor") for each in registry.asked] == ["at:4"]
    await catalogue.refresh()
    assert registry.asked[-1]["updated_since"] == MORNING


async def test_a_cursor_that_is_refused_begins_from_the_start(
    catalogue: Catalogue, registry: Registry
) -> None:
    registry.entries = fleet(6)
    registry.away_after = 1
    await catalogue.refresh()
    registry.away_after = None
    registry.refuses_cursors = True
    registry.page = 10
    assert (await catalogue.refresh()).complete
    assert len(await catalogue.known()) == 6


async def test_a_registry_that_is_not_there_breaks_nothing(stores: Stores) -> None:
    async with opened(stores, "http://127.0.0.1:9") as catalogue:
        outcome = await catalogue.refresh()
        assert not outcome.complete
        assert outcome.reason == "The registry of MCP servers cannot be reached (ConnectError)"
        assert (await catalogue.find("what time is it in Tokyo"))[0].server.slug == "time"


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"servers": {}}', b"[" * 100_000, b'{"servers": []' + b" " * 9_000_000 + b"}"],
    ids=["html", "list", "object", "deep", "large"],
)
async def test_an_answer_that_is_no_page_is_an_outage(
    catalogue: Catalogue, registry: Registry, body: bytes
) -> None:
    registry.body = body
    outcome = await catalogue.refresh()
    assert not outcome.complete
    assert outcome.pages == 0


async def test_a_registry_that_never_answers_is_an_outage(stores: Stores) -> None:
    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, opened(stores, f"http://127.0.0.1:{port}", timeout=0.2) as catalogue:
        outcome = await catalogue.refresh()
    assert not outcome.complete
    assert "cannot be reached" in str(outcome.reason)


async def test_another_registry_begins_anew(stores: Stores, registry: Registry) -> None:
    registry.entries = fleet(2)
    async with opened(stores, registry.url) as catalogue:
        await catalogue.refresh()
    registry.entries = [npm("org.other/one", "one")]
    async with opened(stores, registry.url.replace("127.0.0.1", "localhost")) as catalogue:
        assert (await catalogue.refresh()).complete
        assert sorted(await catalogue.known()) == ["org-other-one"]


async def test_entries_that_are_of_no_use_are_counted_and_left_out(
    catalogue: Catalogue, registry: Registry
) -> None:
    remote = {"type": "streamable-http", "url": "https://mcp.example.com/mcp"}
    described = {"description": "d", "version": "1.0.0"}
    registry.page = 100
    bad: list[dict[str, Any]] = [
        {},
        {"packages": [{"registryType": "oci", "identifier": "evil", "version": "1"}]},
        {"remotes": [{"url": "http://plain.example.com"}]},
        {"remotes": [{"url": "https://user:secret@example.com"}]},
        {"remotes": "no list"},
        {"packages": [None]},
    ]
    registry.entries = [
        npm("com.example/good", "good"),
        entry({"name": "com.example/remote", **described, "remotes": [remote]}),
        *(entry({"name": f"com.example/bad-{place}", **described, **each}) for place, each in enumerate(bad)),
        npm("com.example/no-version", "p", version=""),
        npm("com.example/shell", "p; rm -rf /"),
        npm("com.example/options", "p", runtimeArguments=[{"type": "named", "name": "-c", "value": "sh"}]),
        npm("com.example/steering", "p", environmentVariables=[{"name": "LD_PRELOAD", "value": "/x.so"}]),
        npm("no name", "p"),
        npm("com.example/older", "p") | {"_meta": entry({}, latest=False)["_meta"]},
        "no entry",
        None,
        {"server": None},
    ]
    outcome = await catalogue.refresh()
    assert outcome == RefreshOutcome(complete=True, pages=1, written=2, refused=14)
    known = await catalogue.known()
    assert sorted(known) == ["com-example-good", "com-example-remote"]
    assert known["com-example-remote"].config()["servers"][0]["url"] == remote["url"]


async def test_secrets_of_an_entry_become_references(catalogue: Catalogue, registry: Registry) -> None:
    variables = [
        {"name": "API_KEY", "description": "Your\nkey", "isRequired": True, "isSecret": True},
        {"name": "MODE", "value": "fast"},
    ]
    registry.entries = [npm("com.example/keyed", "keyed", environmentVariables=variables)]
    await catalogue.refresh()
    server = (await catalogue.known())["com-example-keyed"]
    assert [secret.model_dump() for secret in server.secrets] == [
        {"name": "API_KEY", "what": "Your key", "required": True}
    ]
    assert server.config()["servers"][0]["env"] == {"MODE": "fast", "API_KEY": "${API_KEY}"}


async def test_what_the_registry_has_is_found_and_never_sure(
    catalogue: Catalogue, registry: Registry
) -> None:
    trello = npm("com.example/trello-mcp-server", "trello-mcp")
    trello["server"] |= {"title": "Trello MCP Server", "description": "Boards, lists and cards of Trello"}
    weather = npm("com.example/weather", "weather-evil")
    weather["server"] |= {"title": "Weather", "description": "weather weather forecast current temperature"}
    before = await catalogue.find("current weather and forecast")
    registry.entries = [trello, weather]
    await catalogue.refresh()
    found = await catalogue.find("move cards between Trello boards")
    assert found[0].server.slug == "com-example-trello-mcp-server"
    assert not any(match.sure for match in found)
    after = await catalogue.find("current weather and forecast")
    assert after[0] == before[0]
    assert after[0].sure
    assert not any(match.sure for match in after if match.server.origin == "registry")


async def test_two_names_of_one_slug_do_not_take_each_others_place(
    catalogue: Catalogue, registry: Registry
) -> None:
    registry.entries = [npm("com.example/a-b", "first"), npm("com-example/a-b", "second")]
    assert (await catalogue.refresh()).refused == 1
    assert (await catalogue.known())["com-example-a-b"].package == "first"


async def test_long_names_have_slugs_that_differ(catalogue: Catalogue, registry: Registry) -> None:
    registry.entries = [npm(f"com.example/{'x' * 120}{end}", "p") for end in "ab"]
    assert (await catalogue.refresh()).written == 2
    assert all(len(slug) <= 100 for slug in await catalogue.known())


async def test_without_a_registry_nothing_is_read(stores: Stores) -> None:
    activities = KnownActivities(KnownServers(stores), stores, None)
    outcome = await ActivityEnvironment().run(activities.refresh)
    assert outcome == RefreshOutcome(complete=False, reason="no registry is set")
