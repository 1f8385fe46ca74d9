"""What the gateway keeps in memory for 1,000 MCPs, and for 10,000 idle sessions of older clients."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from uuid import UUID, uuid4

import psutil

from benchmarks.gateway.comparison import gateway_process
from benchmarks.gateway.load import http_session, open_session
from benchmarks.gateway.programs import ensure_installed, running_upstream
from benchmarks.servers import Platform
from benchmarks.tables import show
from mcp_platform.contracts.deployments import RevisionContent
from mcp_platform.settings import Settings
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database
from storage.sql.revisions import RevisionRepository

MCPS = 1_000
SESSIONS = 10_000
AT_ONCE = 16
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


async def run(platform: Platform, mcps: int = MCPS, sessions: int = SESSIONS) -> None:
    """Register and deploy the MCPs, open the sessions, and see what one gateway process takes."""
    await ensure_installed()
    key = (await platform.ask("POST", "/auth/api-keys", {"name": "sessions"}))["key"]
    headers = {**_JSON, "Authorization": f"Bearer {key}"}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(running_upstream(platform.folder))
        async with gateway_process(platform) as (_, pid):
            empty = _memory(pid)
        copies = await _register(platform, mcps, upstream.modern)
        stack.enter_context(_paused(platform.pid))
        await _copy_deployment(platform, copies)
        more = {"MCP_PLATFORM_GATEWAY__MOST_SESSIONS_OF_ONE": str(mcps + sessions)}
        gateway, pid = await stack.enter_async_context(gateway_process(platform, more))
        with_mcps = _memory(pid)
        slugs = itertools.cycle(range(mcps))
        await _open(f"{gateway}/mcp/kept-{{}}/v1", headers, itertools.islice(slugs, mcps))
        warm = _memory(pid)
        await _open(f"{gateway}/mcp/kept-{{}}/v1", headers, itertools.islice(slugs, sessions))
        full = _memory(pid)
    rows = [
        ["the process, empty", f"{empty / 2**20:.0f} MB", ""],
        [f"with {mcps} MCPs", f"{with_mcps / 2**20:.0f} MB", ""],
        ["and a session for each of them", f"{warm / 2**20:.0f} MB", ""],
        [f"and {sessions} more idle sessions", f"{full / 2**20:.0f} MB", "400 MB"],
        ["one idle session", f"{(full - warm) / sessions / 1024:.1f} KB", "10 KB"],
    ]
    show("Memory of one gateway process (RSS)", ["what", "seen", "at most"], rows)


async def _register(platform: Platform, count: int, url: str) -> dict[str, str]:
    """Register a remote server under many slugs, and deploy the first; the ids of the others, by slug."""
    await platform.deploy("kept-0", {"url": url})
    numbers, made = iter(range(1, count)), {}

    async def some() -> None:
        for number in numbers:
            slug = f"kept-{number}"
            order = {"name": slug, "slug": slug, "version": "1.0.0", "config": {"servers": [{"url": url}]}}
            made[slug] = (await platform.ask("POST", "/mcps", order))["id"]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(some())
    return made


async def _copy_deployment(platform: Platform, copies: dict[str, str]) -> None:
    """Record the first deployment's replica for each of these too.

    What a gateway knows of a deployment is its rows. A worker that deploys and watches a thousand servers
    beside it would take the cores that the gateway is measured on, and nothing of it is measured here.
    """
    database = Database(Settings(data_dir=platform.folder / "data").sql_url)
    try:
        async with database.write() as session:
            deployments = DeploymentRepository(session)
            first = await deployments.active_of("kept-0")
            assert first is not None
            revision = await RevisionRepository(session).get(first.id, first.revision)
            [replica] = await deployments.replicas(first.id)
            assert revision is not None
            content = RevisionContent.model_validate(revision, from_attributes=True)
            for slug, mcp_id in copies.items():
                number = uuid4()
                names = {"id": number, "mcp_id": UUID(mcp_id), "slug": slug, "tool_name": slug}
                await deployments.add(first.model_copy(update=names), content)
                update = {"id": uuid4(), "deployment_id": number}
                await deployments.put_replica(replica.model_copy(update=update))
    finally:
        await database.close()


@contextmanager
def _paused(pid: int) -> Iterator[None]:
    """Stop a process for the time being: the platform would see deployments without a workflow."""
    process = psutil.Process(pid)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def _open(url: str, headers: dict[str, str], numbers: Iterator[int]) -> None:
    """Open a session for each number, and leave it idle."""
    async with http_session() as http:

        async def some() -> None:
            for number in numbers:
                await open_session(http, url.format(number), headers)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(some())


def _memory(pid: int) -> int:
    return int(psutil.Process(pid).memory_info().rss)
