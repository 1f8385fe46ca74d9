"""Which replicas serve a slug: a table in memory that pub/sub keeps fresh."""

import asyncio
from collections.abc import Callable, Collection
from uuid import UUID

import structlog
from redis.asyncio import Redis

from gateway.upstreams.upstream import Upstream
from mcp_platform.contracts.deployments import Route, UpstreamAddress
from mcp_platform.errors import NotFound, Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.deployments import DeploymentRepository
from storage.sql.engine import Database

log = structlog.get_logger(__name__)

OpenUpstream = Callable[[Route, UpstreamAddress], Upstream]


class LiveRoute:
    """A slug's route with its upstreams, taken in turn."""

    def __init__(self, route: Route, upstreams: list[Upstream]) -> None:
        self.route = route
        self.upstreams = upstreams
        self._turn = 0

    def pick(self, prefer: UUID | None = None, tried: Collection[Upstream] = ()) -> Upstream:
        """Choose the upstream whose turn it is; the preferred one while it is there and well.

        Upstreams that could not be reached a moment ago are taken only when there is no other.

        Raises:
            Unavailable: There is none that was not tried.
        """
        left = [upstream for upstream in self.upstreams if upstream not in tried]
        well = [upstream for upstream in left if not upstream.resting] or left
        if not well:
            raise Unavailable(
                f"No healthy replica of {self.route.slug!r} right now", part=self.route.slug, retry_after=2
            )
        if prefer is not None:
            for upstream in well:
                if upstream.address.replica_id == prefer:
                    return upstream
        self._turn += 1
        return well[self._turn % len(well)]


class RouteTable:
    """All routes.

    Reads follow one another under a lock, so an older reading never replaces a newer one.
    """

    def __init__(self, database: Database, open_upstream: OpenUpstream) -> None:
        self._database = database
        self._open_upstream = open_upstream
        self._routes: dict[str, LiveRoute] = {}
        self._reading = asyncio.Lock()

    def find(self, slug: str) -> LiveRoute:
        """Find the route of a slug.

        Raises:
            NotFound: Nothing is deployed under it.
        """
        live = self._routes.get(slug)
        if live is None:
            raise NotFound("mcp_tool", slug)
        return live

    @property
    def all(self) -> list[LiveRoute]:
        """All routes."""
        return list(self._routes.values())

    async def refresh(self, slug: str | None = None) -> None:
        """Read one slug's route anew, or all."""
        async with self._reading:
            async with self._database.read() as session:
                found = {route.slug: route for route in await DeploymentRepository(session).routes(slug)}
            gone = [known for known in self._routes if known not in found and (slug is None or known == slug)]
            dropped: list[Upstream] = []
            for name in gone:
                dropped += self._routes.pop(name).upstreams
            for route in found.values():
                dropped += self._put(route)
        for upstream in dropped:
            await upstream.close()

    async def follow(self, cache: Redis) -> None:
        """Read anew whatever a message names; runs until cancelled."""
        async for message in listen(cache, Channel.ROUTES):
            slug = message.data.get("slug") if message.channel is not None else None
            await self._refresh_or_log(slug)

    async def refresh_forever(self, interval: float) -> None:
        """Read all routes at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log(None)

    async def close(self) -> None:
        """Close all upstreams."""
        for live in self._routes.values():
            for upstream in live.upstreams:
                await upstream.close()
        self._routes.clear()

    async def _refresh_or_log(self, slug: str | None) -> None:
        try:
            await self.refresh(slug)
        except Exception:
            # Whatever it was, the routes we have are better than none, and we ask again.
            log.exception("routes_not_read", slug=slug)

    def _put(self, route: Route) -> list[Upstream]:
        """Take over the route; upstreams that stay keep their connections. Returns those that go."""
        live = self._routes.get(route.slug)
        old = live.upstreams if live is not None else []
        same_config = live is not None and live.route.config_key == route.config_key
        kept = {upstream.address: upstream for upstream in old} if same_config else {}
        upstreams = [kept.get(a) or self._open_upstream(route, a) for a in route.upstreams]
        if live is None:
            self._routes[route.slug] = LiveRoute(route, upstreams)
        else:
            live.route, live.upstreams = route, upstreams
        return [upstream for upstream in old if upstream not in upstreams]
