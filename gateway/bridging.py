"""The bridge, put together: what it keeps in memory, and the changes that it follows."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from gateway.bridge.actuator import Actuator
from gateway.bridge.administration import Administration
from gateway.bridge.bridge import Bridge
from gateway.bridge.calling import Calling
from gateway.bridge.counting import Counting
from gateway.bridge.denials import Denials
from gateway.bridge.describing import Describing
from gateway.bridge.finding import Finder
from gateway.bridge.running import RunningConfig
from gateway.core import Core
from gateway.credentials import Credentials
from gateway.limits import RateLimits
from gateway.opening import Opener
from mcp_platform.contracts.bridge import BridgeConfig
from mcp_platform.settings import Settings
from storage.sql.audit import AuditLog
from storage.stores import Stores


class Bridging:
    """Builds the bridge over what the gateway has, and makes its configuration true in this process."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        credentials: Credentials,
        rates: RateLimits,
        check_origin: Callable[[Mapping[str, str]], None],
        core: Core,
        audit: AuditLog,
        opener: Opener,
    ) -> None:
        routes, relay, reporter = core.routes, core.relay, core.reporter
        self._routes = routes
        self._http = opener.http
        self._limits = opener.limits
        self._interval = settings.gateway.refresh_interval
        self._finder = Finder(routes, core.tool_lists, core.policies)
        self.running = RunningConfig(settings, stores, self._apply)
        describing = Describing(stores, relay, self._finder)
        self._administration = Administration(
            reporter.id, stores, audit, routes, describing, self.running, opener.http
        )
        self.bridge = Bridge(
            settings,
            credentials,
            rates,
            check_origin,
            Calling(settings.gateway, relay, core.calls, self._finder),
            describing,
            Counting(stores, routes, self._finder, core.meter, self.running, reporter.report),
            self._administration,
            Actuator(stores, routes, reporter.report),
            Denials(audit),
        )

    async def refresh(self) -> None:
        """Read what is set, and go by it."""
        await self.running.refresh()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Give what keeps it current; each runs until cancelled."""
        return [
            self.running.follow(),
            self.running.refresh_forever(self._interval),
            self._administration.follow(),
        ]

    def close(self) -> None:
        """Follow the lists of tools no more."""
        self._finder.close()

    def _apply(self, config: BridgeConfig) -> None:
        self._routes.default_algorithm = config.load_balancer.algorithm
        self._http.most = config.connection_pool.max_connections
        self._limits.connect_timeout = config.connection_pool.connection_timeout / 1000
