"""Replicas that are killed while calls run: none fails that may be repeated, none else is done twice."""

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

import tests.gateway.counting_server
from gateway import figures
from tests.deployments.steady import paced
from tests.platform import Caller, RunningPlatform
from tests.waiting import eventually

_A_SECOND = 50
_KILLS = 4

Call = Callable[[str, str], Awaitable[bool]]
"""Calls a tool with a key; whether it answered with it."""


@asynccontextmanager
async def mcp_call(platform: RunningPlatform, token: str, slug: str, mode: str) -> AsyncIterator[Call]:
    """Open a client of one era, with which any number of calls is made."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(
            streamable_http_client(f"{platform.url}/mcp/{slug}/v1", http_client=http), mode=mode, cache=None
        ) as client,
    ):

        async def call(tool: str, key: str) -> bool:
            try:
                result = await client.call_tool(tool, {"key": key})
            except MCPError:
                return False
            return not result.is_error and result.content[0].text == key  # type: ignore[union-attr]

        yield call


def rest_call(caller: Caller, slug: str) -> Call:
    """Call by plain REST."""

    async def call(tool: str, key: str) -> bool:
        answer = await caller.post(f"/mcp/{slug}/v1/tools/{tool}", json={"key": key})
        return answer.status_code == 200 and answer.json() == {"result": key}

    return call


class Load:
    """Calls at a steady rate, whatever becomes of them."""

    def __init__(self, calls: list[Call]) -> None:
        self.answered: dict[str, set[str]] = {tool: set() for tool in ("look", "put", "add")}
        self.failed: dict[str, set[str]] = {tool: set() for tool in ("look", "put", "add")}
        self._calls = calls
        self._ended = asyncio.Event()

    def end(self) -> None:
        """Begin no more calls."""
        self._ended.set()

    async def run(self) -> None:
        """Call until the end, and wait for the last answers."""
        ways = itertools.cycle(itertools.product(self.answered, self._calls))
        numbers = itertools.count()
        async with asyncio.TaskGroup() as tasks:
            async for _ in paced(_A_SECOND):
                if self._ended.is_set():
                    return
                tool, call = next(ways)
                tasks.create_task(self._one(call, tool, f"{tool}-{next(numbers)}"))

    async def _one(self, call: Call, tool: str, key: str) -> None:
        (self.answered if await call(tool, key) else self.failed)[tool].add(key)


async def killed(caller: Caller, deployment_id: str, number: int) -> None:
    """Kill one replica, its runner or the server behind it in turns, and wait until there are two again."""
    seen = await caller.deployment_is(deployment_id, "running")
    victim = seen["replicas"][number % 2]
    runner = psutil.Process(victim["pid"])
    (runner if number < _KILLS / 2 else runner.children()[0]).kill()

    async def replaced() -> bool:
        seen = await caller.deployment(deployment_id)
        pids = {replica["pid"] for replica in seen["replicas"] if replica["state"] == "healthy"}
        return len(pids) == 2 and victim["pid"] not in pids

    await eventually(replaced)


@pytest.mark.timeout(120)
async def test_no_call_that_may_be_repeated_fails_while_replicas_are_killed(
    platform: RunningPlatform, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    program = tests.gateway.counting_server.__file__
    admin = await platform.admin()
    deployed = await admin.deploy(
        {"name": "counting", "command": sys.executable, "args": [program, str(journal)]}, replicas=2
    )
    slug, deployment_id = deployed["slug"], deployed["deployment_id"]
    await admin.deployment_is(deployment_id, "running")
    async with AsyncExitStack() as stack:
        calls = [rest_call(admin, slug)]
        for mode in ("legacy", "2026-07-28"):
            calls.append(await stack.enter_async_context(mcp_call(platform, admin.token, slug, mode)))
        load = Load(calls)
        running = asyncio.create_task(load.run())
        for number in range(_KILLS):
            await killed(admin, deployment_id, number)
        load.end()
        await running
    await admin.delete(f"/api/v1/deployments/{deployment_id}")

    assert load.failed["look"] == load.failed["put"] == set()
    assert len(load.answered["look"]) > _A_SECOND
    executed = Counter(line.split()[1] for line in journal.read_text().splitlines())
    added = {key: count for key, count in executed.items() if key.startswith("add-")}
    assert set(added.values()) == {1}
    assert load.answered["add"] <= set(added)
    # The test proves something: calls were in the midst of it when their replica died.
    broken = figures.UPSTREAM_FAILURES.labels(slug, "broken")._value.get()
    assert broken > 0
