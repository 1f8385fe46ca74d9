"""A whole platform inside the test process, on real sockets, and clients to talk to it."""

import itertools
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
from pydantic import SecretStr
from temporalio.client import Client

from api.app import create_app
from api.parts import Parts
from mcp_platform.check_settings import PackageSettings, RegistrySettings
from mcp_platform.cli.first_admin import ensure_admin
from mcp_platform.cli.serving import listening_socket, serving
from mcp_platform.docker_settings import DockerSettings
from mcp_platform.github_settings import GitHubSettings
from mcp_platform.settings import (
    AdminSettings,
    ApiSettings,
    LimitSettings,
    LogSettings,
    ReplicaSettings,
    SecuritySettings,
    Settings,
    WorkerSettings,
)
from storage.stores import open_stores
from tests.migrated import make_schema
from tests.waiting import PATIENCE, eventually
from worker.app import running_worker

ADMIN_PASSWORD = "correct horse battery staple"
PASSWORD = "SecurePassword123!"


class Caller(httpx.AsyncClient):
    """An HTTP client of the platform that may be signed in."""

    def __init__(self, url: str) -> None:
        # It speaks plain HTTP: to read in whom one may trust takes 40 ms and a megabyte, for each client.
        super().__init__(base_url=url, timeout=PATIENCE, trust_env=False, verify=False)

    async def sign_in(self, username: str, password: str = PASSWORD) -> dict[str, Any]:
        """Sign in, and send the token from now on."""
        answer = await self.post("/api/v1/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 200, answer.text
        pair: dict[str, Any] = answer.json()
        self.headers["Authorization"] = f"Bearer {pair['access_token']}"
        return pair

    @property
    def token(self) -> str:
        """The access token."""
        return self.headers["Authorization"].removeprefix("Bearer ")

    async def register_mcp(self, config: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Register an MCP with this configuration."""
        order = {"name": "Test", "slug": f"test-{uuid4().hex[:8]}", "version": "1.0.0", "config": config}
        answer = await self.post("/api/v1/mcps", json=order | changes)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def deploy(self, config: dict[str, Any], replicas: int = 1) -> dict[str, Any]:
        """Register an MCP with one server and deploy it."""
        mcp = await self.register_mcp({"servers": [config]})
        order = {"tool_id": mcp["id"], "config": {"replicas": replicas}}
        answer = await self.post("/api/v1/deployments", json=order)
        assert answer.status_code == 202, answer.text
        deployed: dict[str, Any] = answer.json()
        return deployed | {"slug": mcp["slug"]}

    async def deployment(self, deployment_id: str) -> dict[str, Any]:
        """Read a deployment."""
        answer = await self.get(f"/api/v1/deployments/{deployment_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def deployment_is(
        self, deployment_id: str, *states: str, within: float = PATIENCE
    ) -> dict[str, Any]:
        """Wait until a deployment is in one of these states, and read it."""
        return await eventually(
            lambda: self.deployment(deployment_id), lambda seen: seen["status"] in states, within
        )

    async def start_analysis(self, description: str = "Tells the time") -> str:
        """Start a feasibility analysis; its task's id."""
        idea = {"name": "An idea", "description": description}
        answer = await self.post("/api/v1/analyze/feasibility", json={"config": idea})
        assert answer.status_code == 202, answer.text
        task_id: str = answer.json()["task_id"]
        return task_id

    async def task_is(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of these states, and read it."""

        async def read() -> dict[str, Any]:
            answer = await self.get(f"/api/v1/tasks/{task_id}")
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        return await eventually(read, lambda seen: seen["status"] in states)


class RunningPlatform:
    """A platform that answers, with its insides at hand."""

    def __init__(self, settings: Settings, parts: Parts) -> None:
        self.settings = settings
        self.parts = parts
        self._clients: list[Caller] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.settings.api_url

    @property
    def socket_url(self) -> str:
        """Where its WebSocket is."""
        return self.url.replace("http", "ws", 1) + "/ws"

    def caller(self) -> Caller:
        """Open a client without a credential."""
        client = Caller(self.url)
        self._clients.append(client)
        return client

    async def admin(self) -> Caller:
        """Give the administrator, signed in."""
        caller = self.caller()
        await caller.sign_in("admin", ADMIN_PASSWORD)
        return caller

    @asynccontextmanager
    async def deployer(self) -> AsyncIterator[Caller]:
        """Give the administrator, signed in, whose deployments are stopped afterwards."""
        caller = await self.admin()
        yield caller
        for deployment in (await caller.get("/api/v1/deployments")).json()["deployments"]:
            if deployment["status"] != "stopped":
                await caller.delete(f"/api/v1/deployments/{deployment['deployment_id']}")

    async def member(self, role: str = "developer") -> Caller:
        """Give a new account of this role, signed in."""
        caller = self.caller()
        name = f"{role}-{uuid4().hex[:8]}"
        order = {"username": name, "email": f"{name}@example.com", "password": PASSWORD, "role": role}
        answer = await caller.post("/api/v1/auth/register", json=order)
        assert answer.status_code == 201, answer.text
        await caller.sign_in(name)
        return caller

    async def close(self) -> None:
        """Close every client."""
        for client in self._clients:
            await client.aclose()


_PORTS: Final = itertools.cycle(random.sample(range(20_000, 32_000), 12_000))
"""Below those from which the system serves outgoing connections, of which there are many."""


def free_port() -> int:
    """Give a free port, another one each time, that stays ours while nobody listens on it."""
    while True:
        port = next(_PORTS)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def quick_settings(folder: Path) -> Settings:
    """Embedded settings on free ports, which notice and heal quickly."""
    return Settings(
        data_dir=folder,
        api=ApiSettings(port=free_port(), max_body_bytes=100_000),
        admin=AdminSettings.model_validate({"password": ADMIN_PASSWORD}),
        worker=WorkerSettings(figures_interval=0.2),
        replicas=ReplicaSettings(check_interval=0.2, check_timeout=2.0, patience=8.0, stop_grace=1.0),
        # No test asks a registry on the network; those that ask one have one of their own.
        packages=PackageSettings(
            pypi_url=SecretStr("http://127.0.0.1:9"), npm_url=SecretStr("http://127.0.0.1:9")
        ),
        # The GitHub of the tests.
        github=GitHubSettings(hosts=["github.com", "127.0.0.1"]),
        # Nothing beyond this machine is asked.
        registry=RegistrySettings(source=""),
        # Whatever engine this machine has is none of the tests' business.
        docker=DockerSettings(host=f"unix://{folder}/no-engine.sock"),
        # All tests come from one address; what is tested about limits has settings of its own.
        limits=LimitSettings(anonymous=1_000_000, user=1_000_000, admin=1_000_000),
        security=SecuritySettings(lockout_address_threshold=1_000_000),
        logs=LogSettings(level="warning"),
    )


@asynccontextmanager
async def running_platform(
    settings: Settings, temporal: Client, *, with_worker: bool = True
) -> AsyncIterator[RunningPlatform]:
    """Run API, gateway and worker in this process."""
    listener = listening_socket(settings.api.host, settings.api.port, "--port")
    await make_schema(settings.sql_url)
    app = create_app(settings, temporal)
    async with open_stores(settings) as stores:
        await ensure_admin(settings, stores, choose_password=False)
        async with serving(app, listener):
            platform = RunningPlatform(settings, app.state.parts)
            try:
                if with_worker:
                    async with running_worker(settings, temporal, stores):
                        yield platform
                else:
                    yield platform
            finally:
                await platform.close()
