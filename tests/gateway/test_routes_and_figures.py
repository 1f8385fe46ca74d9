"""The tables in memory, and what becomes of them when a store is away."""

import asyncio
from pathlib import Path

import pytest

from gateway.app import Gateway
from gateway.limits import open_limits
from gateway.results import ToolResult
from gateway.upstreams.events import EventParser, EventTooLong
from mcp_platform.contracts.deployments import Driver
from mcp_platform.security.keys import load_master_key
from mcp_platform.security.tokens import Tokens
from storage.stores import open_stores
from tests.gateway.conftest import Platform, settings_for
from tests.gateway.upstreams import stub
from tests.migrated import make_schema
from tests.runner.conftest import until


async def test_a_deployment_that_was_stopped_is_forgotten(platform: Platform) -> None:
    async with stub() as server:
        deployment = await platform.deploy("short", server.url, driver=Driver.REMOTE)
        assert (await platform.rest("short", "act", {}))[0] == 200
        await platform.stop(deployment)
        assert (await platform.rest("short", "act", {}))[0] == 404


async def test_a_database_that_is_away_costs_neither_routes_nor_figures(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub() as server:
        deployment = await platform.deploy("steady", server.url, driver=Driver.REMOTE)
        assert (await platform.rest("steady", "act", {}))[0] == 200
        gateway = platform.gateway
        with monkeypatch.context() as patch:
            patch.setattr(gateway._meter, "_database", BrokenDatabase())
            patch.setattr(gateway._routes, "_database", BrokenDatabase())
            await gateway._routes._refresh_or_log(None)
            for _ in range(5):
                assert (await platform.rest("steady", "act", {}))[0] == 200
            await gateway._meter.flush()

        async def written() -> bool:
            async with platform.stores.read() as rows:
                record = await rows.deployments.get(deployment.id)
            return record is not None and record.requests_total == 6

        await until(written)


class BrokenDatabase:
    """A database that cannot be reached."""

    def read(self) -> None:
        """Fail."""
        raise OSError("away")

    write = read


async def test_a_gateway_that_ends_writes_its_figures_and_leaves_no_task(tmp_path: Path) -> None:
    # On a loop of its own, where nobody else's tasks come and go.
    await asyncio.to_thread(asyncio.run, _end_a_gateway(tmp_path))


async def _end_a_gateway(tmp_path: Path) -> None:
    settings = settings_for(tmp_path)
    settings = settings.model_copy(
        update={"gateway": settings.gateway.model_copy(update={"flush_interval": 3600.0})}
    )
    await make_schema(settings.sql_url)
    tokens = Tokens(load_master_key(settings), 900, 900)
    async with (
        open_stores(settings) as stores,
        open_limits(settings, stores.cache) as rates,
        stub() as server,
    ):
        before = asyncio.all_tasks()
        async with Gateway(settings, stores, tokens, rates) as gateway:
            platform = Platform(settings, stores, gateway, "")
            platform.user = await platform.add_user()
            deployment = await platform.deploy("last", server.url, driver=Driver.REMOTE)
            await gateway.call_tool("last", "act", {})
        async with stores.read() as rows:
            record = await rows.deployments.get(deployment.id)
        assert record is not None
        assert record.requests_total == 1
        left = {task for task in asyncio.all_tasks() - before if "aiohttp" not in repr(task)}
        assert left == set()


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events_are_found_wherever_the_stream_is_cut(size: int) -> None:
    stream = b": ping\r\n\r\nevent: endpoint\r\ndata: /m\r\n\r\nid: 4\ndata: a\ndata:b\n\ndata: cut"
    parser = EventParser(limit=1000)
    events = [e for at in range(0, len(stream), size) for e in parser.feed(stream[at : at + size])]
    assert events == [("endpoint", b"/m"), ("message", b"a\nb")]


def test_an_event_over_the_limit_is_refused_before_it_is_whole() -> None:
    parser = EventParser(limit=10)
    with pytest.raises(EventTooLong):
        list(parser.feed(b"data: 12345\ndata: 67890123\n"))


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"structuredContent": {"a": 1}, "content": [{"type": "text", "text": "x"}]}, {"a": 1}),
        ({"content": [{"type": "text", "text": "[1]"}]}, [1]),
        ({"content": [{"type": "image", "data": "eA=="}]}, {"content": [{"type": "image", "data": "eA=="}]}),
        ({}, {"content": []}),
    ],
)
def test_a_result_has_one_value(raw: dict[str, object], value: object) -> None:
    assert ToolResult(raw).value == value
