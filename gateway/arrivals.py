"""Calls that wait for a replica: for the first of a deployment that sleeps, or for a successor."""

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.routes import LiveRoute, RouteTable
from gateway.upstreams.legs import Spawn
from mcp_platform.contracts.base import Contract
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel

_AGAIN: Final = 1.0
"""Seconds after which a deployment is woken once more, in case the message was lost."""

Tell = Callable[[Channel, Contract | dict[str, Any]], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Patience:
    """Seconds that calls may wait, and how many of one deployment may at once."""

    wake_timeout: float
    recovery_wait: float
    most: int


class Arrivals:
    """Holds calls back while their route has no replica, where one can be expected soon."""

    def __init__(
        self,
        routes: RouteTable,
        patience: Patience,
        tell: Tell,
        spawn: Spawn,
    ) -> None:
        self._routes = routes
        self._patience = patience
        self._tell = tell
        self._spawn = spawn
        self._woken: dict[str, float] = {}

    def find(self, slug: str) -> LiveRoute:
        """Give the slug's route as it is.

        Raises:
            NotFound: Nothing is deployed under the slug.
        """
        return self._routes.find(slug)

    def check(self, slug: str) -> LiveRoute:
        """Give the slug's route, if a call could be sent now or after a wait.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy, and none expected; or too many calls wait already.
        """
        live = self._routes.find(slug)
        if not live.upstreams:
            now = time.monotonic()
            if now >= self._until(live, now):
                raise live.unavailable(now)
            self._check_space(live)
        return live

    async def route(self, slug: str, deadline: float) -> LiveRoute:
        """Give the slug's route once it has a replica.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: There is no replica, and none came in time; or too many calls wait already.
        """
        live = self._routes.find(slug)
        return live if live.upstreams else await self._wait(live, slug, deadline)

    async def change(self, live: LiveRoute, timeout: float) -> LiveRoute:
        """Wait until the route is another, or for this time; the route as it is then."""
        with self._place(live):
            await live.change(timeout)
        return self._routes.find(live.route.slug)

    async def _wait(self, live: LiveRoute, slug: str, deadline: float) -> LiveRoute:
        began = time.monotonic()
        with self._place(live):
            while not live.upstreams:
                now = time.monotonic()
                left = min(deadline, self._until(live, began)) - now
                if left <= 0:
                    raise live.unavailable(now)
                if live.route.asleep:
                    self._wake(live)
                await live.change(min(_AGAIN, left))
                live = self._routes.find(slug)
        return live

    def _until(self, live: LiveRoute, began: float) -> float:
        """Tell how long a wait that began then may last."""
        if live.route.asleep or began < live.asleep_at + self._patience.wake_timeout:
            return began + self._patience.wake_timeout
        return live.lost_at + self._patience.recovery_wait

    def _wake(self, live: LiveRoute) -> None:
        now = time.monotonic()
        if now < self._woken.get(live.route.slug, 0.0) + _AGAIN * 0.9:
            return
        self._woken[live.route.slug] = now
        self._spawn(self._tell(Channel.WAKE, {"deployment_id": str(live.route.deployment_id)}))

    def _check_space(self, live: LiveRoute) -> None:
        if live.tally.waiting >= self._patience.most:
            raise Unavailable(
                f"{self._patience.most} calls wait for a replica of {live.route.slug!r} already",
                part=live.route.slug,
                retry_after=2,
            )

    @contextmanager
    def _place(self, live: LiveRoute) -> Iterator[None]:
        self._check_space(live)
        live.tally.waiting += 1
        try:
            yield
        finally:
            live.tally.waiting -= 1
