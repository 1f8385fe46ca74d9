"""What is read often and changes seldom: kept in this process, then in Redis, then read from its store.

A change drops what is kept, in Redis and, by a message, in every process:

- `drop` comes after the commit and before the caller hears of it. It leaves a mark in Redis for longer
  than any transaction lasts, so that a reader who began before the commit cannot put the old state back.
- A process keeps nothing while it does not hear the messages, and nothing that it began to read before one.
- A drop that finds Redis away is made up for when it is back; and everything kept ends by itself.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.names import Channel
from storage.cache.connection import AWAY
from storage.cache.messages import listen, publish

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Contract)

_KEPT_HERE: Final = 30.0
_KEPT_IN_REDIS: Final = 300
_MARKED: Final = 60
"""Seconds; twice what a transaction may take."""
_MOST_KEPT: Final = 2_000
_LARGEST: Final = 65_536
"""Characters; what is larger is read from its store each time."""
_PREFIX: Final = "mcp-platform.read."
_DROPPED: Final = ""


@dataclass(frozen=True)
class Kind(Generic[T]):
    """What is kept under a name."""

    name: str
    model: type[T]


class ReadCache:
    """Keeps what was read; shared by all processes through Redis."""

    def __init__(self, cache: Redis) -> None:
        self._cache = cache
        self._kept: OrderedDict[tuple[str, str], tuple[float, Contract]] = OrderedDict()
        self._drops = 0
        self._hears = False
        self._owed: set[tuple[str, str]] = set()

    async def read(self, kind: Kind[T], key: str, load: Callable[[], Awaitable[T | None]]) -> T | None:
        """Give what is kept, or load it; None, which `load` may give, is not kept."""
        entry = self._kept.get((kind.name, key))
        if entry is not None and entry[0] > time.monotonic():
            return entry[1]  # type: ignore[return-value]  # kept under its own kind
        drops = self._drops
        found = await self._find(kind, key)
        if found is None:
            found = await load()
            if found is None:
                return None
            await self._put(kind, key, found)
        if self._hears and drops == self._drops:
            self._keep(kind, key, found)
        return found

    async def drop(self, kind: Kind[T], key: str) -> None:
        """Forget it, everywhere, because it has just changed."""
        self._forget(kind.name, key)
        try:
            await self._cache.set(_PREFIX + f"{kind.name}.{key}", _DROPPED, ex=_MARKED)
        except AWAY as error:
            self._owed.add((kind.name, key))
            log.warning("cache_drop_postponed", kind=kind.name, error=str(error))
            return
        await publish(self._cache, Channel.CHANGES, {"kind": kind.name, "key": key})

    async def follow(self) -> None:
        """Hear what others drop; runs until cancelled. Until it hears, this process keeps nothing."""
        try:
            async for message in listen(self._cache, Channel.CHANGES):
                if message.channel is None:
                    self._kept.clear()
                    self._drops += 1
                    self._hears = not message.interrupted
                    if self._hears:
                        await self._make_up()
                else:
                    self._forget(message.data.get("kind"), message.data.get("key"))
        finally:
            self._hears = False
            self._kept.clear()

    async def _find(self, kind: Kind[T], key: str) -> T | None:
        try:
            text = await self._cache.get(_PREFIX + f"{kind.name}.{key}")
        except AWAY as error:
            log.warning("cache_not_read", kind=kind.name, error=str(error))
            return None
        try:
            return kind.model.model_validate_json(text) if text else None
        except ValueError:
            # Written by another version of the platform.
            return None

    async def _put(self, kind: Kind[T], key: str, value: T) -> None:
        text = value.model_dump_json()
        if len(text) > _LARGEST:
            return
        try:
            # Only where nothing is: a mark of `drop` says that what was read may be old.
            await self._cache.set(_PREFIX + f"{kind.name}.{key}", text, ex=_KEPT_IN_REDIS, nx=True)
        except AWAY as error:
            log.warning("cache_not_written", kind=kind.name, error=str(error))

    def _keep(self, kind: Kind[T], key: str, value: T) -> None:
        self._kept[kind.name, key] = (time.monotonic() + _KEPT_HERE, value)
        self._kept.move_to_end((kind.name, key))
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def _forget(self, kind: object, key: object) -> None:
        self._drops += 1
        self._kept.pop((str(kind), str(key)), None)

    async def _make_up(self) -> None:
        """Drop in Redis what could not be dropped while it was away."""
        owed, self._owed = self._owed, set()
        for kind, key in owed:
            try:
                await self._cache.set(_PREFIX + f"{kind}.{key}", _DROPPED, ex=_MARKED)
            except AWAY:
                self._owed.add((kind, key))
            else:
                await publish(self._cache, Channel.CHANGES, {"kind": kind, "key": key})
