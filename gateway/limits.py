"""Rate limits: which bucket a request takes from, and what its answer says of it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from starlette.types import Scope

from mcp_platform.client_address import address_group
from mcp_platform.contracts.access import Permission, Principal
from mcp_platform.errors import RateLimited
from mcp_platform.names import RouteClass
from mcp_platform.request_context import add_answer_headers
from mcp_platform.settings import LimitSettings, RateSettings, Settings
from storage.cache.limits import Allowance, Limiter

_COMES_WITH: Final = {
    # All repositories of an organisation are told of by the few addresses that GitHub has.
    RouteClass.WEBHOOK: RateSettings(anonymous=3000),
    RouteClass.BRIDGE_SMART: RateSettings(user=100, admin=100),
    RouteClass.BRIDGE_DIRECT: RateSettings(user=200, admin=200),
    RouteClass.BRIDGE_BATCH: RateSettings(user=10, admin=10),
    RouteClass.BRIDGE_QUERY: RateSettings(user=1000, admin=1000),
}
"""Limits of classes that differ from the common ones; the bridge's are the same whoever calls."""


class RateLimits:
    """Charges requests to whoever makes them."""

    def __init__(self, settings: LimitSettings, limiter: Limiter) -> None:
        self._settings = settings
        self._limiter = limiter
        self._rates = {kind: _rates(settings, kind) for kind in RouteClass}

    @property
    def alone(self) -> bool:
        """Whether this process counts by itself because Redis is away."""
        return self._limiter.alone

    async def charge(self, scope: Scope, kind: RouteClass, principal: Principal) -> None:
        """Charge a request to its credential.

        Raises:
            RateLimited: It has had its share of this minute.
        """
        rates = self._rates[kind]
        # What only administrators hold tells them apart, whatever their role is called.
        limit = rates.admin if Permission.USERS_APPOINT in principal.permissions else rates.user
        await self._take(scope, f"{kind}.{principal.credential}", limit)

    async def charge_address(self, scope: Scope, kind: RouteClass, address: str) -> None:
        """Charge a request without a credential, or with one that does not hold, to its address.

        IPv6 addresses of one /64 network share their bucket.

        Raises:
            RateLimited: The address has had its share of this minute.
        """
        await self._take(scope, f"{kind}.address:{address_group(address)}", self._rates[kind].anonymous)

    async def _take(self, scope: Scope, bucket: str, limit: int) -> None:
        if not self._settings.enabled:
            return
        allowance = await self._limiter.take(bucket, limit)
        add_answer_headers(scope, _headers(allowance))
        if not allowance.granted:
            raise RateLimited(allowance.next_in)


def _rates(settings: LimitSettings, kind: RouteClass) -> RateSettings:
    """Give the limits of a class: its own as set, then as it comes, and else the common ones."""
    rates: RateSettings = settings
    for own in (_COMES_WITH.get(kind), settings.classes.get(kind)):
        if own is not None:
            rates = rates.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
    return rates


@asynccontextmanager
async def open_limits(settings: Settings, cache: Redis) -> AsyncIterator[RateLimits]:
    """Open the limits that the settings name; without a Redis of its own this process counts alone."""
    limiter = Limiter(cache if settings.cache.url else None)
    try:
        yield RateLimits(settings.limits, limiter)
    finally:
        await limiter.close()


def _headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    """Say how much is left, and when (Unix time, in seconds) the bucket is full again."""
    return [
        (b"x-ratelimit-limit", b"%d" % allowance.limit),
        (b"x-ratelimit-remaining", b"%d" % allowance.remaining),
        (b"x-ratelimit-reset", b"%d" % (int(time.time()) + allowance.full_in)),
    ]
