"""The endpoints that several servers are behind: groups, and the smart one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from redis.asyncio import Redis

from gateway.calls import Calls
from gateway.catalogue import Catalogue
from gateway.discovery.discovery import Discovery
from gateway.groups.endpoint import PREFIX, GroupEndpoint
from gateway.groups.table import GroupTable
from gateway.news import News
from gateway.policy.table import Policies
from gateway.relay import Relay
from gateway.requests import ClientRequest, ClientSession
from gateway.routes import RouteTable
from gateway.smart import SMART, SmartEndpoint
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.discovery import ToolsFound
from mcp_platform.gateway_settings import GatewaySettings
from storage.cache import Questions
from storage.sql.engine import Database

AnswerRequest = Callable[[ClientRequest], Awaitable[dict[str, Any]]]
Listen = Callable[[ClientSession, asyncio.Event, Principal | None], Coroutine[Any, Any, None]]


class SeveralServers:
    """What needs to know more than one server, with all that it keeps in memory."""

    def __init__(
        self,
        settings: GatewaySettings,
        database: Database,
        cache: Redis,
        routes: RouteTable,
        relay: Relay,
        catalogue: Catalogue,
        calls: Calls,
        policies: Policies,
    ) -> None:
        self._cache = cache
        self._interval = settings.refresh_interval
        self.catalogue = catalogue
        self.groups = GroupTable(database)
        self.news = News(self.catalogue, self.groups)
        self.group_endpoint = GroupEndpoint(
            self.groups, self.catalogue, policies, relay, calls, self.news, settings.call_timeout
        )
        self.discovery = Discovery(self.catalogue, routes, policies)
        self.smart_endpoint = SmartEndpoint(self.discovery, calls, settings.call_timeout)
        routes.on_change(self.catalogue.route_changed)
        policies.on_change(self.news.policy_changed)

    def answering(self, one: AnswerRequest) -> AnswerRequest:
        """Give what answers at all endpoints, where `one` answers for those of one server."""
        group, smart = self.group_endpoint.answer, self.smart_endpoint.answer

        async def answer(request: ClientRequest) -> dict[str, Any]:
            endpoint = request.endpoint
            if endpoint == SMART:
                return await smart(request)
            return await (group if endpoint.startswith(PREFIX) else one)(request)

        return answer

    def listening(self, one: Listen) -> Listen:
        """Give what listens for all sessions, where `one` listens to each server by itself."""

        async def listen(session: ClientSession, changed: asyncio.Event, caller: Principal | None) -> None:
            if not session.endpoint.startswith(PREFIX) or session.channel is None:
                await one(session, changed, caller)
                return
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(one(session, changed, caller))
                tasks.create_task(self.news.follow(session.endpoint, session.channel.notify, changed))

        return listen

    async def refresh(self) -> None:
        """Read what is kept in memory."""
        await self.groups.refresh()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Give what has to run for as long as the gateway does."""
        kinds = {"tools.search": self._search, "groups.tools": self._group_tools}
        return [
            Questions(self._cache).answer_forever(kinds),
            self.groups.follow(self._cache),
            self.groups.refresh_forever(self._interval),
            self.discovery.run(),
        ]

    async def _search(self, asked: dict[str, Any]) -> dict[str, Any]:
        caller = Principal.model_validate(asked["caller"])
        found = await self.discovery.search(caller, asked["query"], asked["limit"])
        return ToolsFound(tools=[each.told() for each in found]).model_dump(mode="json")

    async def _group_tools(self, asked: dict[str, Any]) -> dict[str, Any]:
        caller = Principal.model_validate(asked["caller"])
        return (await self.group_endpoint.tools(asked["name"], caller)).model_dump(mode="json")

    async def close(self) -> None:
        """Give up what is under way."""
        await self.discovery.close()
        await self.catalogue.close()
