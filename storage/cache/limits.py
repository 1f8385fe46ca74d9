"""Rate limits by token buckets: shared by all processes through Redis, else counted by this one alone.

A bucket holds as many tokens as its limit allows in a minute, and a request takes one. Tokens come back
in steps of ten seconds, counted from the moment at which the bucket was last full: so a burst is counted
exactly, wherever its requests arrive, and a client that was refused knows when to come again.

A round trip to Redis costs more than the rest of a request. So all requests that wait while Redis is
asked go into the next question together; and where a limit is high and more than half of the bucket is
left, a process takes some tokens ahead. There are never more than the limit; of what was taken ahead, a
process that gets no more requests loses at most a fiftieth of the limit.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog
from redis.asyncio import Redis

from storage.cache.connection import AWAY

log = structlog.get_logger(__name__)

STEP: Final = 10
"""Seconds between refills."""
STEPS: Final = 60 // STEP
_PATIENCE: Final = 0.5
"""Seconds that a request may wait for Redis before this process counts by itself."""
_RETRY: Final = 1.0
_LEAST_LEASED: Final = 500
"""Below this limit each request is counted in Redis by itself."""
_LEASED_SHARE: Final = 50
_LONGEST_LEASE: Final = 100
_LEASED_FOR: Final = 1.0
"""Seconds after which what was taken ahead, and not used, is forgotten."""
_MOST_BUCKETS: Final = 50_000
_PREFIX: Final = "mcp-platform.limit."

# A bucket is "<tokens> <moment of its last refill, in ms>". Tokens are kept in sixths of one, so that a
# step adds a whole number of them whatever the limit is.
_TAKE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
    local limit, wanted, ahead = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
    local full = limit * STEPS
    local tokens, refilled = full, now
    local kept = redis.call('GET', key)
    if kept then
        local space = string.find(kept, ' ')
        tokens, refilled = tonumber(string.sub(kept, 1, space)), tonumber(string.sub(kept, space))
        local steps = math.floor((now - refilled) / STEP_MS)
        if steps > 0 then
            tokens, refilled = tokens + steps * limit, refilled + steps * STEP_MS
        end
        if tokens >= full then
            tokens, refilled = full, now
        end
    end
    local granted = math.min(wanted, math.floor(tokens / STEPS))
    tokens = tokens - granted * STEPS
    local leased = math.max(0, math.min(ahead, math.floor(tokens / STEPS) - math.floor(limit / 2)))
    tokens = tokens - leased * STEPS
    redis.call('SET', key, string.format('%d %d', tokens, refilled), 'PX', 120000)
    answers[4 * i - 3], answers[4 * i - 2] = granted, leased
    answers[4 * i - 1], answers[4 * i] = tokens, now - refilled
end
return answers
""".replace("STEP_MS", str(STEP * 1000)).replace("STEPS", str(STEPS))


class Allowance(NamedTuple):
    """What came of asking for a token; times in seconds from now."""

    granted: bool
    limit: int
    remaining: int
    full_in: int
    """When the bucket is full again."""
    next_in: int
    """When there is a token again; 0 while there are any."""


class LocalLimiter:
    """Counts for this process alone.

    Args:
        clock: Seconds, growing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def take(self, bucket: str, limit: int) -> Allowance:
        """Take a token, if there is one."""
        now = self._clock()
        full = limit * STEPS
        tokens, refilled = self._buckets.get(bucket, (full, now))
        steps = int((now - refilled) / STEP)
        if steps > 0:
            tokens, refilled = tokens + steps * limit, refilled + steps * STEP
        if tokens >= full:
            tokens, refilled = full, now
        granted = tokens >= STEPS
        if granted:
            tokens -= STEPS
        self._buckets[bucket] = (tokens, refilled)
        self._buckets.move_to_end(bucket)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return _allowance(granted, limit, tokens, now - refilled)


@dataclass(slots=True)
class _Lease:
    """Tokens that were taken ahead."""

    left: int
    until: float
    tokens: int
    """Sixths in the bucket itself."""
    age: float
    """Seconds since its last refill, when they were taken."""


@dataclass(slots=True)
class _Waiting:
    limit: int
    waiters: list["asyncio.Future[Allowance]"]


class Limiter:
    """Counts in Redis, and by itself while Redis is away.

    Args:
        cache: None: this is the only process, so it counts alone.
    """

    def __init__(self, cache: Redis | None) -> None:
        self._script = cache.register_script(_TAKE) if cache is not None else None
        self._local = LocalLimiter()
        self._waiting: dict[str, _Waiting] = {}
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._asking: asyncio.Task[None] | None = None
        self._away_until = 0.0

    @property
    def alone(self) -> bool:
        """Whether this process counts by itself because Redis is away."""
        return self._away_until > 0.0

    async def take(self, bucket: str, limit: int) -> Allowance:
        """Take a token out of a bucket that holds `limit` of them a minute."""
        if self._script is None or self._away_until > time.monotonic():
            return self._local.take(bucket, limit)
        lease = self._leases.get(bucket)
        if lease is not None and lease.left > 0 and lease.until > time.monotonic():
            lease.left -= 1
            return _allowance(True, limit, lease.tokens + lease.left * STEPS, lease.age)
        waiting = self._waiting.get(bucket)
        if waiting is None:
            waiting = self._waiting[bucket] = _Waiting(limit, [])
        future = asyncio.get_running_loop().create_future()
        waiting.waiters.append(future)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_until_answered())
        answer: Allowance = await future
        return answer

    async def close(self) -> None:
        """Wait until nobody waits any more."""
        if self._asking is not None:
            await self._asking

    async def _ask_until_answered(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, {}
                try:
                    await self._ask(batch)
                except BaseException:
                    # Nobody must wait for ever, whatever it was.
                    self._answer_alone(batch)
                    raise
        finally:
            self._asking = None

    async def _ask(self, batch: dict[str, _Waiting]) -> None:
        assert self._script is not None
        numbers = [
            number
            for waiting in batch.values()
            for number in (waiting.limit, len(waiting.waiters), _ahead(waiting.limit))
        ]
        try:
            async with asyncio.timeout(_PATIENCE):
                answers = await self._script([_PREFIX + bucket for bucket in batch], numbers)
        except (*AWAY, TimeoutError) as error:
            if not self.alone:
                log.warning("limits_counted_alone", error=str(error) or "no answer in time")
            self._away_until = time.monotonic() + _RETRY
            self._answer_alone(batch)
            return
        if self.alone:
            log.info("limits_shared_again")
            self._away_until = 0.0
        for place, (bucket, waiting) in enumerate(batch.items()):
            granted, leased, tokens, age = answers[4 * place : 4 * place + 4]
            if leased:
                self._leases[bucket] = _Lease(leased, time.monotonic() + _LEASED_FOR, tokens, age / 1000)
                self._leases.move_to_end(bucket)
                if len(self._leases) > _MOST_BUCKETS:
                    self._leases.popitem(last=False)
            _answer(waiting, granted, tokens + (granted + leased) * STEPS, age / 1000)

    def _answer_alone(self, batch: dict[str, _Waiting]) -> None:
        for bucket, waiting in batch.items():
            for waiter in waiting.waiters:
                if not waiter.done():
                    waiter.set_result(self._local.take(bucket, waiting.limit))


def _ahead(limit: int) -> int:
    return min(limit // _LEASED_SHARE, _LONGEST_LEASE) if limit >= _LEAST_LEASED else 0


def _answer(waiting: _Waiting, granted: int, tokens: int, age: float) -> None:
    for number, waiter in enumerate(waiting.waiters):
        if number < granted:
            tokens -= STEPS
        # One whose caller went away has had its token all the same.
        if not waiter.done():
            waiter.set_result(_allowance(number < granted, waiting.limit, tokens, age))


def _allowance(granted: bool, limit: int, tokens: int, age: float) -> Allowance:
    first_step = STEP - age
    missing = limit * STEPS - tokens
    steps_to_full = math.ceil(missing / limit)
    steps_to_one = math.ceil(max(STEPS - tokens, 0) / limit)
    return Allowance(
        granted=granted,
        limit=limit,
        remaining=tokens // STEPS,
        full_in=math.ceil(first_step + (steps_to_full - 1) * STEP) if steps_to_full else 0,
        next_in=max(math.ceil(first_step + (steps_to_one - 1) * STEP), 1) if steps_to_one else 0,
    )
