"""A gateway on a socket, a server behind it, and a caller of the bridge."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mcp_platform.contracts.access import Role
from mcp_platform.names import RouteClass
from mcp_platform.settings import LimitSettings, RateSettings, Settings
from tests.bridge.persons import Persons, persons
from tests.gateway.conftest import Background, Platform, running_platform, settings_for

_PLENTY = RateSettings(user=100_000, admin=100_000, anonymous=100_000)


class Caller:
    """Calls one gateway's bridge with one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.headers: Any = {}
        """Of the last answer."""

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request; its status and its answer. A body of bytes is sent as it is."""
        credential = {"X-API-Key": self.key} if self.key else {}
        sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                method, self.url + path, headers={**credential, **headers}, allow_redirects=False, **sent
            ) as response,
        ):
            self.headers = response.headers
            return response.status, await response.json()

    async def call(self, tool: str, arguments: Any = None, **more: Any) -> tuple[int, Any]:
        """Make a smart call."""
        body = {"toolName": tool, "arguments": arguments or {}, **more}
        return await self.ask("POST", "/mcp/smart/call", body)


def plentiful(settings: Settings, **classes: RateSettings) -> Settings:
    """Take away the limits on all classes but these, by their name in the code."""
    own = {RouteClass[name]: rates for name, rates in classes.items()}
    limits = LimitSettings(classes=dict.fromkeys(RouteClass, _PLENTY) | own)
    return settings.model_copy(update={"limits": limits})


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Give a running gateway without limits that a test could meet."""
    settings = plentiful(settings_for(tmp_path))
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


@pytest.fixture
async def server() -> AsyncIterator[Persons]:
    """Give a server that keeps persons."""
    async with persons() as running:
        yield running


@pytest.fixture
async def caller(platform: Platform, server: Persons) -> Caller:
    """Give a developer, who may call `mcp-server-v6`."""
    await platform.deploy("mcp-server-v6", server.url)
    return Caller(platform.url, platform.key)


@pytest.fixture
async def admin(platform: Platform) -> Caller:
    """Give an administrator."""
    _, key = await platform.add_key(await platform.add_user(Role.ADMIN))
    return Caller(platform.url, key)


@pytest.fixture(scope="module")
async def shared_platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    """Give a running gateway to tests that change nothing."""
    folder = tmp_path_factory.mktemp("shared")
    settings = plentiful(settings_for(folder))
    background = Background(lambda stack: stack.enter_async_context(running_platform(settings)))
    yield await background.ready()
    await background.close()


@pytest.fixture(scope="module")
async def shared(shared_platform: Platform) -> AsyncIterator[Caller]:
    """Give a developer there, who may call `mcp-server-v6`."""
    async with persons() as running:
        await shared_platform.deploy("mcp-server-v6", running.url)
        yield Caller(shared_platform.url, shared_platform.key)


@pytest.fixture(scope="module")
async def shared_admin(shared_platform: Platform, shared: Caller) -> Caller:
    """Give an administrator there."""
    _, key = await shared_platform.add_key(await shared_platform.add_user(Role.ADMIN))
    return Caller(shared_platform.url, key)
