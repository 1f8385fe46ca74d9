"""Each store stops while the platform serves: what needs it says so, the rest goes on, all comes back."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from mcp.server.mcpserver import MCPServer
from temporalio.testing import WorkflowEnvironment

from mcp_platform.cli.serving import listening_socket, serving
from mcp_platform.settings import CacheSettings, DocumentSettings, SqlSettings
from tests.platform import Caller, RunningPlatform, free_port, quick_settings, running_platform
from tests.services.mariadb import MariaDb, mariadb_server
from tests.services.mongodb import mongo_server
from tests.services.redis import RedisServer, own_redis_server
from tests.services.temporal import new_namespace
from tests.waiting import eventually, in_one_task

WITHIN = 5.0
"""Seconds after a store's return in which everything works again."""


class Mongo:
    """A document store that can be stopped; it forgets everything then."""

    def __init__(self) -> None:
        self._port = free_port()
        self._running = ExitStack()

    def start(self) -> str:
        """Start it, and wait until it answers."""
        return self._running.enter_context(mongo_server(self._port))

    def stop(self) -> None:
        """Stop it."""
        self._running.close()


@dataclass
class Site:
    """A platform on real servers that can be stopped, with one deployed tool."""

    platform: RunningPlatform
    admin: Caller
    slug: str
    mcp_id: str
    database: MariaDb
    documents: Mongo
    cache: RedisServer

    async def call(self) -> httpx.Response:
        """Call the deployed tool."""
        return await self.admin.post(f"/mcp/{self.slug}/v1/tools/double", json={"number": 21})

    async def register(self) -> httpx.Response:
        """Register an MCP, which takes a row and a document."""
        order = {"name": "New", "slug": f"new-{time.monotonic_ns()}", "version": "1.0.0", "config": {}}
        return await self.admin.post("/api/v1/mcps", json=order)

    async def health(self) -> dict[str, str]:
        """Give the parts and how they are."""
        answer = await self.admin.get("/health")
        return {name: part["status"] for name, part in answer.json()["parts"].items()}


def doubling_server() -> MCPServer:
    """Make a real MCP server with one tool."""
    server = MCPServer("double")

    @server.tool()
    def double(number: int) -> dict[str, int]:
        return {"result": 2 * number}

    return server


@pytest.fixture(scope="module")
async def site(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[Site]:
    client = await new_namespace(temporal_environment.client)
    with ExitStack() as stack:
        database = stack.enter_context(mariadb_server())
        documents = Mongo()
        stack.callback(documents.stop)
        cache = stack.enter_context(own_redis_server())
        settings = quick_settings(tmp_path_factory.mktemp("site")).model_copy(
            update={
                "sql": SqlSettings.model_validate({"url": database.url()}),
                "documents": DocumentSettings.model_validate({"url": documents.start()}),
                "cache": CacheSettings.model_validate({"url": cache.url}),
            }
        )
        port = free_port()
        async with (
            in_one_task(
                serving(doubling_server().streamable_http_app(), listening_socket("127.0.0.1", port, ""))
            ),
            in_one_task(running_platform(settings, client)) as platform,
        ):
            admin = await platform.admin()
            deployed = await admin.deploy({"name": "double", "url": f"http://127.0.0.1:{port}/mcp"})
            await admin.deployment_is(deployed["deployment_id"], "running")
            yield Site(platform, admin, deployed["slug"], deployed["tool_id"], database, documents, cache)


async def told_unavailable(ask: Callable[[], Awaitable[httpx.Response]], part: str) -> None:
    answer = await eventually(ask, lambda seen: seen.status_code == 503)
    assert answer.json()["error_code"] == "SERVICE_UNAVAILABLE"
    assert answer.json()["part"] == part
    assert int(answer.headers["Retry-After"]) > 0


async def back_in_time(ask: Callable[[], Awaitable[httpx.Response]], status: int) -> None:
    await eventually(ask, lambda seen: seen.status_code == status, WITHIN)


async def test_without_the_database_calls_go_on_and_the_rest_says_why_not(site: Site) -> None:
    site.database.stop()
    try:
        await told_unavailable(lambda: site.admin.get("/api/v1/mcps"), "database")
        await told_unavailable(site.register, "database")
        for _ in range(3):
            assert (await site.call()).json() == {"result": 42}
        parts = await eventually(site.health, lambda seen: seen["cache"] == "healthy")
        assert parts["database"] == "unhealthy"
    finally:
        site.database.start()
    await back_in_time(lambda: site.admin.get("/api/v1/mcps"), 200)
    await back_in_time(site.register, 201)
    assert (await site.call()).status_code == 200


async def test_without_the_document_store_lists_and_calls_go_on(site: Site) -> None:
    before = (await site.admin.get("/api/v1/mcps")).json()["total"]
    site.documents.stop()
    try:
        await told_unavailable(site.register, "documents")
        await told_unavailable(lambda: site.admin.get(f"/api/v1/mcps/{site.mcp_id}/history"), "documents")
        listed = await site.admin.get("/api/v1/mcps")
        assert listed.status_code == 200
        assert listed.json()["total"] == before, "something half-done stayed behind"
        assert (await site.call()).json() == {"result": 42}
        assert (await site.health())["documents"] == "unhealthy"
    finally:
        site.documents.start()
    await back_in_time(site.register, 201)


async def test_without_the_cache_everything_goes_on_and_limits_are_counted_alone(site: Site) -> None:
    site.cache.stop()
    try:
        assert (await site.register()).status_code == 201
        assert (await site.admin.get(f"/api/v1/mcps/{site.mcp_id}")).status_code == 200
        assert (await site.call()).json() == {"result": 42}
        told = await site.admin.get("/health")
        assert told.json()["parts"]["cache"]["status"] == "unhealthy"
        assert "by itself" in told.json()["parts"]["limits"]["detail"]
        changed = await site.admin.put(f"/api/v1/mcps/{site.mcp_id}", json={"description": "without a cache"})
        assert changed.status_code == 200
    finally:
        site.cache.start()

    async def shared_again() -> bool:
        await site.admin.get("/api/v1/mcps")
        return "limits" not in await site.health()

    assert await eventually(shared_again, bool, WITHIN)
    seen = (await site.admin.get(f"/api/v1/mcps/{site.mcp_id}")).json()
    assert seen["description"] == "without a cache"
