"""A gateway on a socket of its own, with real stores, in front of real runners and odd upstreams."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from sqlalchemy import update

from gateway.app import Gateway, create_app
from mcp_platform.cli.serving import IDLE_SECONDS
from mcp_platform.contracts.access import ApiKey, Role, User
from mcp_platform.contracts.deployments import (
    Deployment,
    DeploymentConfig,
    DeploymentReport,
    DeploymentState,
    Driver,
    Health,
    Replica,
    ReplicaState,
    RevisionCause,
    RevisionContent,
)
from mcp_platform.contracts.mcps import Mcp, McpStatus
from mcp_platform.gateway_settings import GatewaySettings
from mcp_platform.names import Channel, Collection
from mcp_platform.security.api_keys import api_key_hash, new_api_key
from mcp_platform.security.keys import load_master_key
from mcp_platform.security.tokens import Tokens
from mcp_platform.settings import ReplicaSettings, Settings, SqlSettings
from storage.sql.tables import UserRow
from storage.stores import Stores, open_stores
from tests.migrated import make_schema
from tests.runner.conftest import SERVERS, RunningRunner, start_runner, until

MODERN = "2026-07-28"


class Platform:
    """What the tests do to the platform around the gateway."""

    def __init__(self, settings: Settings, stores: Stores, gateway: Gateway, url: str) -> None:
        self.settings = settings
        self.stores = stores
        self.gateway = gateway
        self.url = url
        self.key = ""
        self.tokens = Tokens(load_master_key(settings), 900, 900)
        self.user = self._user(Role.DEVELOPER)

    def address(self, slug: str) -> str:
        """Where clients find an MCP."""
        return f"{self.url}/mcp/{slug}/v1"

    async def add_user(self, role: Role = Role.DEVELOPER) -> User:
        """Add an account."""
        user = self._user(role)
        async with self.stores.write() as rows:
            await rows.users.add(user, "no password")
        return user

    async def add_session(self, user: User) -> str:
        """Begin a session; its access token."""
        _, claims = self.tokens.issue_refresh(user.id)
        async with self.stores.write() as rows:
            await rows.refresh_tokens.add(claims)
        return self.tokens.issue_access(user, claims.family_id)

    async def add_key(
        self, user: User, expires_at: datetime | None = None, mcp_ids: list[UUID] | None = None
    ) -> tuple[UUID, str]:
        """Add an API key; its id and the key."""
        key, number = new_api_key(), uuid4()
        record = ApiKey(
            id=number,
            name="k",
            prefix=key[:8],
            created_at=_now(),
            expires_at=expires_at,
            mcp_ids=mcp_ids,
        )
        async with self.stores.write() as rows:
            await rows.api_keys.add(record, user.id, api_key_hash(key))
        return number, key

    async def deploy(
        self,
        slug: str,
        *urls: str,
        driver: Driver = Driver.PROCESS,
        headers: dict[str, str] | None = None,
        tools: list[dict[str, Any]] | None = None,
    ) -> Deployment:
        """Record an MCP, its deployment and healthy replicas at these addresses.

        With tools it is a plain HTTP API.
        """
        mcp = Mcp(
            id=uuid4(),
            name=slug,
            slug=slug,
            description="",
            version="1.0.0",
            author_id=self.user.id,
            status=McpStatus.ACTIVE,
            config_key=f"key-{slug}",
            revision=1,
            created_at=_now(),
            updated_at=_now(),
        )
        servers = [{"name": "far", "url": urls[0] if urls else "http://localhost", "headers": headers or {}}]
        config = {"servers": servers} if tools is None else {"servers": servers, "tools": tools}
        await self.stores.documents.put(Collection.CONFIGS, mcp.config_key, config)
        deployment = Deployment(
            id=uuid4(),
            mcp_id=mcp.id,
            slug=slug,
            tool_name=slug,
            version="1.0.0",
            owner_id=self.user.id,
            driver=driver,
            config=DeploymentConfig(replicas=max(len(urls), 1), server="far"),
            config_key=mcp.config_key,
            status=DeploymentState.RUNNING,
            health_status=Health.HEALTHY,
            deployed_at=_now(),
        )
        async with self.stores.write() as rows:
            await rows.mcps.add(mcp, self.user.id)
            await rows.deployments.add(deployment, _content(deployment))
        await self.place(deployment, *urls)
        return deployment

    async def place(self, deployment: Deployment, *urls: str) -> None:
        """Replace the deployment's replicas, and wait until the gateway knows."""
        async with self.stores.write() as rows:
            for old in await rows.deployments.replicas(deployment.id):
                await rows.deployments.put_replica(old.model_copy(update={"state": ReplicaState.STOPPED}))
            for ordinal, url in enumerate(urls):
                replica = Replica(
                    id=uuid4(),
                    deployment_id=deployment.id,
                    ordinal=ordinal,
                    state=ReplicaState.HEALTHY,
                    url=url,
                    started_at=_now(),
                )
                await rows.deployments.put_replica(replica)
        await self.stores.publish(Channel.ROUTES, {"slug": deployment.slug})

        async def known() -> bool:
            routes = {live.route.slug: live for live in self.gateway._routes.all}
            live = routes.get(deployment.slug)
            return live is not None and [u.address.url for u in live.upstreams] == list(urls)

        await until(known)

    async def drain(self, deployment: Deployment) -> list[UUID]:
        """Record that all its replicas are to end; their ids. Tell the gateways, and wait for none."""
        async with self.stores.write() as rows:
            replicas = [each.id for each in await rows.deployments.replicas(deployment.id)]
            for replica_id in replicas:
                await rows.deployments.drain_replica(replica_id)
        await self.stores.publish(Channel.ROUTES, {"slug": deployment.slug})
        return replicas

    async def report(self, deployment: Deployment, status: DeploymentState) -> None:
        """Record what is true of a deployment, and tell the gateway."""
        report = DeploymentReport(
            deployment_id=deployment.id,
            slug=deployment.slug,
            status=status,
            health_status=Health.UNKNOWN,
            replicas=1,
            healthy=0,
        )
        async with self.stores.write() as rows:
            await rows.deployments.report(report)
        await self.stores.publish(Channel.ROUTES, {"slug": deployment.slug})

    async def put_to_sleep(self, deployment: Deployment) -> None:
        """Scale a deployment without replicas to zero, and wait until the gateway knows."""
        await self.report(deployment, DeploymentState.IDLE)

        async def known() -> bool:
            return self.gateway._routes.find(deployment.slug).route.asleep

        await until(known)

    async def stop(self, deployment: Deployment) -> None:
        """Stop a deployment, and wait until the gateway knows."""
        await self.report(deployment, DeploymentState.STOPPED)

        async def forgotten() -> bool:
            return deployment.slug not in {live.route.slug for live in self.gateway._routes.all}

        await until(forgotten)

    async def disable(self, user: User) -> None:
        """Take an account's right to anything."""
        async with self.stores.database.write() as session:
            await session.execute(update(UserRow).where(UserRow.id == user.id).values(is_active=False))

    def _user(self, role: Role) -> User:
        number = uuid4()
        name = f"user-{number.hex[:8]}"
        return User(
            id=number,
            username=name,
            email=f"{name}@example.com",
            role=role,
            is_active=True,
            created_at=_now(),
        )

    @asynccontextmanager
    async def client(self, slug: str, mode: str = "auto", key: str | None = None) -> AsyncIterator[Client]:
        """Connect the official client."""
        headers = {"X-API-Key": key or self.key}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(self.address(slug), http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client

    async def rest(
        self, slug: str, tool: str, arguments: Any = None, *, data: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Call a tool by plain REST: status, body, headers."""
        url = f"{self.address(slug)}/tools/{tool}"
        sent = {"X-API-Key": self.key, **headers}
        async with (
            aiohttp.ClientSession() as http,
            http.post(url, json=arguments, data=data, headers=sent) as response,
        ):
            return response.status, await response.json(), response.headers


def _content(deployment: Deployment) -> RevisionContent:
    """Give what the deployment's first revision runs."""
    return RevisionContent(
        cause=RevisionCause.DEPLOY,
        version=deployment.version,
        config_key=deployment.config_key,
        driver=deployment.driver,
        config=deployment.config,
    )


def _now() -> datetime:
    return datetime.now(UTC)


class _Server(uvicorn.Server):
    """A server whose application ends after the last request, as with the platform's own."""

    async def _wait_tasks_to_complete(self) -> None:
        try:
            await super()._wait_tasks_to_complete()
        finally:
            # uvicorn would cancel them now, and have the application closed under their hands.
            left = set(self.server_state.tasks)
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=5)


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free port."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=2,
        ws="none",
        **options,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server._serve())

        async def started() -> bool:
            return server.started

        await until(started)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http{'s' if config.is_ssl else ''}://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            # Also after a failure, for which the group would cancel it, and its connections stay open.
            await asyncio.wait({running})


def settings_for(folder: Path, **gateway: Any) -> Settings:
    """Make settings with a database of its own and short intervals."""
    own: dict[str, Any] = {"recovery_wait": 1.0, **gateway}
    return Settings(
        data_dir=folder,
        sql=SqlSettings(url=f"sqlite+aiosqlite:///{folder / 'platform.db'}"),
        gateway=GatewaySettings(
            flush_interval=0.05,
            max_body_bytes=100_000,
            max_response_bytes=1_000_000,
            **own,
        ),
        replicas=ReplicaSettings(exposed_environment=["GATEWAY_TEST_TOKEN"]),
    )


@asynccontextmanager
async def running_platform(settings: Settings) -> AsyncIterator[Platform]:
    """Run a gateway with its stores."""
    await make_schema(settings.sql_url)
    app = create_app(settings)
    async with open_stores(settings) as stores, serving(app) as url:
        platform = Platform(settings, stores, app.state.gateway, url)
        platform.user = await platform.add_user()
        platform.key = (await platform.add_key(platform.user))[1]
        yield platform


class Background:
    """Enters contexts in a task of their own, for the clients' scopes are bound to the task they began in."""

    def __init__(self, enter: Callable[[AsyncExitStack], Awaitable[Any]]) -> None:
        self._enter = enter
        self._ready: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._done = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def ready(self) -> Any:
        """Wait for what was entered."""
        await asyncio.wait({self._task, self._ready}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        return self._ready.result()

    async def close(self) -> None:
        """Leave the contexts."""
        self._done.set()
        await self._task

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            self._ready.set_result(await self._enter(stack))
            await self._done.wait()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Give a running gateway."""
    settings = settings_for(tmp_path)
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


@pytest.fixture
async def patient_platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Give a gateway whose calls wait for a successor for longer than this machine ever stands still."""
    settings = settings_for(tmp_path, recovery_wait=20.0)
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


StartRunner = Callable[..., Awaitable[RunningRunner]]


@pytest.fixture
async def runner(tmp_path: Path) -> AsyncIterator[StartRunner]:
    """Start runners in front of fixture servers."""
    stack = AsyncExitStack()

    async def begin(kind: str = "legacy", *command: str) -> RunningRunner:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        started = await stack.enter_async_context(
            start_runner(folder, *(command or (sys.executable, SERVERS, kind)))
        )
        return await started.ready()

    yield begin
    await stack.aclose()
