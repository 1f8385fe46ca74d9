"""The way to servers, with all that governs it: every door of the gateway leads here."""

from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any

from redis.asyncio import Redis

from gateway.arrivals import Arrivals, Patience
from gateway.balancing.capacity import Capacity
from gateway.calls import Calls
from gateway.catalogue import Catalogue
from gateway.endpoint import Endpoint
from gateway.loads import LoadReporter
from gateway.metering import Meter
from gateway.opening import Opener
from gateway.policy.policy import Policy
from gateway.policy.secrets import Redactors
from gateway.policy.table import Policies
from gateway.policy.watch import PinWatch
from gateway.relay import Relay
from gateway.routes import RouteTable
from gateway.several import AnswerRequest, SeveralServers
from gateway.troubles import Troubles
from gateway.upstreams.legs import Spawn
from mcp_platform.gateway_settings import GatewaySettings
from storage.sql.audit import AuditLog
from storage.stores import Stores


class Core:
    """Routes, policies, limits and figures, and the calls that go by them."""

    def __init__(
        self, own: GatewaySettings, stores: Stores, audit: AuditLog, opener: Opener, spawn: Spawn
    ) -> None:
        self._interval = own.refresh_interval
        self._cache: Redis = stores.cache
        self._opener = opener
        self.policies = Policies(stores.database, stores.cache)
        self.meter = Meter(stores.database, own.flush_interval, own.journal_bound)
        self.reporter = LoadReporter(stores.loads, lambda: self.routes, opener.pool)
        self._capacity = Capacity(own, opener.http.lasting)
        self.routes = self._routes(own, stores, spawn)
        self.relay = self._relay(own, stores, spawn)
        catalogue = Catalogue(self.relay, own.list_grace)
        self.tool_lists = catalogue.tools
        self._watch = PinWatch(stores, audit, self.policies, self.tool_lists, lambda: self.routes.all, spawn)
        self._redactors = Redactors(stores, opener.secrets)
        self.policy = Policy(self.policies, self.tool_lists, self._watch, self._redactors)
        self.calls = Calls(self.relay, self.meter, self._capacity, self.policy, opener.held)
        self.several = SeveralServers(
            own, stores.database, stores.cache, self.routes, self.relay, catalogue, self.calls, self.policies
        )
        self.answer: AnswerRequest = self.several.answering(
            Endpoint(self.relay, self.calls, own.call_timeout).answer
        )

    async def open(self, stack: AsyncExitStack) -> None:
        """Read what is kept in memory; give it all back with the stack."""
        stack.push_async_callback(self.routes.close)
        stack.push_async_callback(self.several.close)
        stack.push_async_callback(self._redactors.close)
        stack.push_async_callback(self._watch.close)
        self._watch.open()
        await self.policies.refresh()
        await self.routes.refresh()
        await self.several.refresh()
        await self._opener.held.refresh()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Give what keeps it current; each runs until cancelled."""
        held = self._opener.held
        return [
            self.policies.follow(),
            self.policies.refresh_forever(self._interval),
            self.routes.follow(self._cache),
            self.routes.refresh_forever(self._interval),
            held.follow(self._cache),
            held.refresh_forever(self._interval),
            self._watch.run(self._interval),
            self.meter.flush_forever(),
            self.reporter.run(),
            *self.several.loops(),
        ]

    def _routes(self, own: GatewaySettings, stores: Stores, spawn: Spawn) -> RouteTable:
        routes = RouteTable(
            stores.database,
            self._opener.open,
            self.reporter.announce,
            spawn,
            own.call_timeout,
            self.reporter.nudge,
            self.policies.of,
            self._capacity,
            own.balancing,
        )
        self.policies.on_change(routes.govern)
        return routes

    def _relay(self, own: GatewaySettings, stores: Stores, spawn: Spawn) -> Relay:
        patience = Patience(own.wake_timeout, own.recovery_wait, own.max_waiting)
        arrivals = Arrivals(self.routes, patience, stores.publish, spawn)
        return Relay(arrivals, Troubles(stores.publish, spawn), own.recovery_wait)
