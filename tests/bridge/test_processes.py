"""Two gateway processes, as production runs them: what is changed at one holds at the other."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from mcp_platform.contracts.access import Role
from mcp_platform.contracts.calls import CallFilter, Outcome
from mcp_platform.contracts.deployments import Deployment, Replica, ReplicaState
from mcp_platform.settings import CacheSettings, Settings, SqlSettings
from storage.stores import Stores, open_stores
from tests.bridge.conftest import Caller
from tests.bridge.persons import Persons, persons
from tests.end_to_end.programs import START_PATIENCE, Running
from tests.gateway.conftest import Platform
from tests.migrated import make_schema
from tests.platform import free_port
from tests.waiting import eventually, in_one_task

pytestmark = pytest.mark.timeout(300)

CONFIG = "/mcp/bridge/config"
SECOND = "/mcp/bridge/admin/services/mcp-server-v6/instances/mcp-server-v6-002"
COMES_WITH = {
    "loadBalancer": {"algorithm": "WEIGHTED_ROUND_ROBIN", "healthCheckInterval": 5},
    "connectionPool": {"maxConnections": 1000, "connectionTimeout": 5000},
}


class Deploying(Platform):
    """Records deployments for gateways that run elsewhere."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self.settings = settings
        self.stores = stores
        self.user = self._user(Role.ADMIN)

    async def place(self, deployment: Deployment, *urls: str) -> None:
        """Record its replicas; the gateways start later."""
        async with self.stores.write() as rows:
            for ordinal, url in enumerate(urls):
                replica = Replica(
                    id=uuid4(),
                    deployment_id=deployment.id,
                    ordinal=ordinal,
                    state=ReplicaState.HEALTHY,
                    url=url,
                    started_at=datetime.now(UTC),
                )
                await rows.deployments.put_replica(replica)


class Gateways:
    """Gateway processes over one database and one Redis."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._running: dict[str, Running] = {}
        self.ports = {name: free_port() for name in ("one", "other")}
        self.key = ""

    @property
    def settings(self) -> Settings:
        """The stores of all."""
        return Settings(
            data_dir=self._folder,
            sql=SqlSettings(url=f"sqlite+aiosqlite:///{self._folder / 'platform.db'}"),
            cache=CacheSettings(url=self._redis_url),
        )

    async def at(self, name: str) -> Caller:
        """Start a gateway unless it runs; a caller of its bridge."""
        known = self._running.get(name)
        if known is not None and known.alive:
            return Caller(f"http://127.0.0.1:{self.ports[name]}", self.key)
        self._running[name] = await Running.start(
            "gateway",
            MCP_PLATFORM_DATA_DIR=str(self._folder),
            MCP_PLATFORM_SQL__URL=f"sqlite+aiosqlite:///{self._folder / 'platform.db'}",
            MCP_PLATFORM_CACHE__URL=self._redis_url,
            MCP_PLATFORM_GATEWAY__PORT=str(self.ports[name]),
            MCP_PLATFORM_GATEWAY__FLUSH_INTERVAL="0.5",
            MCP_PLATFORM_LIMITS__CLASSES='{"bridge-smart": {"user": 100000, "admin": 100000}}',
        )
        caller = Caller(f"http://127.0.0.1:{self.ports[name]}", self.key)

        async def answers() -> bool:
            running = self._running[name]
            assert running.alive, running.stderr[-3000:]
            try:
                return (await caller.ask("GET", CONFIG))[0] == 200
            except aiohttp.ClientError:
                return False

        await eventually(answers, within=START_PATIENCE)
        return caller

    def said(self, name: str) -> str:
        """Give a gateway's log."""
        return self._running[name].stderr

    async def stop(self, name: str) -> None:
        """Ask a gateway to end, as a container engine does."""
        ended = await self._running[name].stop(signal.SIGTERM)
        assert ended.status == 0, ended.stderr[-3000:]
        await self._running[name].close()

    async def close(self) -> None:
        """End all."""
        for running in self._running.values():
            await running.close()


@dataclass
class Pair:
    """Two gateways that serve one deployment on two servers."""

    gateways: Gateways
    stores: Stores
    servers: list[Persons]


@asynccontextmanager
async def running_pair(folder: Path, redis_url: str) -> AsyncIterator[Pair]:
    """Record the deployment, and start both gateways."""
    gateways = Gateways(folder, redis_url)
    async with persons() as first, persons() as second, open_stores(gateways.settings) as stores:
        deploying = Deploying(gateways.settings, stores)
        deploying.user = await deploying.add_user(Role.ADMIN)
        _, gateways.key = await deploying.add_key(deploying.user)
        await deploying.deploy("mcp-server-v6", first.url, second.url)
        try:
            await asyncio.gather(gateways.at("one"), gateways.at("other"))
            yield Pair(gateways, stores, [first, second])
        finally:
            await gateways.close()


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> AsyncIterator[Pair]:
    """Give them to all tests here: each takes seconds to start."""
    folder = tmp_path_factory.mktemp("pair")
    await make_schema(f"sqlite+aiosqlite:///{folder / 'platform.db'}")
    async with in_one_task(running_pair(folder, redis_url)) as running:
        yield running


async def both_known(caller: Caller) -> dict[str, Any]:
    """Wait until a gateway knows of both: one that stood still counts as gone for a moment."""

    async def status() -> dict[str, Any]:
        _, answer = await caller.ask("GET", "/mcp/bridge/connections/status")
        found: dict[str, Any] = answer
        return found

    return await eventually(status, lambda seen: len(seen["gateways"]) == 2)


async def test_what_is_changed_at_one_gateway_holds_at_both_and_after_a_restart(pair: Pair) -> None:
    gateways, (_, second) = pair.gateways, pair.servers
    one, other = await gateways.at("one"), await gateways.at("other")
    assert await other.ask("GET", CONFIG) == (200, COMES_WITH)
    change = {
        "loadBalancer": {"algorithm": "LEAST_LATENCY", "healthCheckInterval": 7},
        "connectionPool": {"maxConnections": 77, "connectionTimeout": 2500},
    }
    assert await one.ask("PUT", CONFIG, change) == (200, change)
    await eventually(lambda: other.ask("GET", CONFIG), lambda seen: seen == (200, change))
    _, seen = await other.ask("GET", "/mcp/bridge/metrics/loadbalancing")
    assert seen["services"][0]["algorithm"] == "LEAST_LATENCY"

    assert (await one.ask("POST", f"{SECOND}/offline"))[0] == 200

    async def instances() -> list[str]:
        _, seen = await other.ask("GET", "/mcp/bridge/metrics/loadbalancing")
        shown = seen["services"][0]["instances"]
        return [each["instanceId"] for each in shown if each["state"] != "offline"]

    await eventually(instances, lambda seen: seen == ["mcp-server-v6-001"])
    before = len(second.calls)
    for caller in (one, other) * 5:
        assert (await caller.call("getPersonById", {"id": 1}))[0] == 200
    assert len(second.calls) == before

    await both_known(one)
    status, answer = await one.ask("POST", "/mcp/bridge/admin/connections/reset")
    assert (status, answer["gateways"]) == (200, 2)

    async def heard() -> bool:
        return '"connections_changed"' in gateways.said("other")

    await eventually(heard)

    await gateways.stop("one")
    one = await gateways.at("one")
    assert await one.ask("GET", CONFIG) == (200, change)
    assert (await one.call("getPersonById", {"id": 1}))[0] == 200
    assert len(second.calls) == before


async def test_figures_are_sums_over_both_gateways_and_survive_them(pair: Pair) -> None:
    gateways = pair.gateways
    one, other = await gateways.at("one"), await gateways.at("other")

    async def total(caller: Caller) -> tuple[int, int]:
        _, stats = await caller.ask("GET", "/mcp/bridge/stats")
        return stats["requests"]["total"], stats["requests"]["failed"]

    async def agreed() -> list[tuple[int, int]]:
        return [await total(one), await total(other)]

    known = (await eventually(agreed, lambda seen: seen[0] == seen[1]))[0]
    for number in range(6):
        await one.call("getPersonById", {"id": number})
    for number in range(4):
        await other.call("getPersonById", {"id": number})
    await other.call("fail")
    wanted = (known[0] + 11, known[1] + 1)
    await eventually(agreed, lambda seen: seen == [wanted, wanted])
    status = await both_known(one)
    assert status["connections"]["maxPoolSize"] == sum(each["maxPoolSize"] for each in status["gateways"])

    async def calls_of(tool: str) -> int:
        _, tools = await one.ask("GET", f"/mcp/bridge/metrics/tools?timeRange=6h&toolName={tool}")
        return sum(each["total"] for each in tools["tools"])

    assert await calls_of("getAllPersons") == 0
    await other.call("getAllPersons")
    await gateways.stop("other")  # what it had not written yet, it writes now
    assert await calls_of("getAllPersons") == 1


async def test_a_gateway_that_is_told_to_end_under_load_loses_no_line_of_its_journal(pair: Pair) -> None:
    gateways = pair.gateways
    one = await gateways.at("one")
    tool = "refuse"  # no other test here calls it
    url = f"{one.url}/mcp/mcp-server-v6/v1/tools/{tool}"
    answered = 0
    ending = asyncio.Event()

    async def load(http: aiohttp.ClientSession) -> None:
        nonlocal answered
        while True:
            try:
                async with http.post(url, json={"id": 1}) as response:
                    await response.read()
            except aiohttp.ClientError:
                return
            if response.status == 422:
                answered += 1
            if answered > 300:
                ending.set()

    async with aiohttp.ClientSession(headers={"X-API-Key": gateways.key}) as http:
        loads = [asyncio.create_task(load(http)) for _ in range(20)]
        await ending.wait()
        await gateways.stop("one")
        await asyncio.gather(*loads)
    async with pair.stores.read() as rows:
        lines = await rows.calls.newest(CallFilter(tool=tool, outcome=Outcome.REFUSED), None, 100_000)
        everything = await rows.calls.newest(CallFilter(), None, 100_000)
        figures = await rows.tool_figures.ever()
    assert answered > 300
    # An answer that was on its way as the connection was cut has its line, and nobody read it.
    assert 0 <= len(lines) - answered <= 20
    assert figures.requests == len(everything)
