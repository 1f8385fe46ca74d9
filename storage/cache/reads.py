"""What is read often and changes seldom: kept in this process, then in Redis, then read from its store.

A change drops what is kept, in Redis and, by a message, in every process:

- `changing` surrounds the transaction. It leaves a mark in Redis before, for longer than any transaction
  lasts, so that a reader who began before the commit cannot put the old state back; and one after, with
  a message, before the caller hears of the change. A crash in between leaves the mark.
- A process keeps nothing while it does not hear the messages, and nothing that it began to read before one.
- A drop that Redis did not take is tried again each second, and until it is taken this process reads from
  the store. Everything kept ends by itself.
"""

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.names import Channel
from storage.cache.connection import AWAY
from storage.cache.messages import listen

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Contract)

_KEPT_HERE: Final = 30.0
_KEPT_IN_REDIS: Final = 60
_MARKED: Final = 60
"""Seconds; twice what a transaction may take."""
_MOST_KEPT: Final = 2_000
_LARGEST: Final = 65_536
"""Characters; what is larger is read from its store each time."""
_PREFIX: Final = "mcp-platform.read."
_DROPPED: Final = ""
_RETRY: Final = 1.0


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
        if (kind.name, key) in self._owed:
            return await load()
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

    @asynccontextmanager
    async def changing(self, kind: Kind[T], key: str) -> AsyncIterator[None]:
        """Forget it, everywhere, around the transaction that changes it."""
        with suppress(*AWAY):
            await self._mark(kind.name, key)
        try:
            yield
        finally:
            # Also after a failure: nobody knows whether a commit that failed took place.
            await self._drop(kind.name, key)

    async def _drop(self, kind: str, key: str) -> None:
        self._forget(kind, key)
        self._owed.add((kind, key))
        try:
            await self._mark(kind, key)
            await self._cache.publish(Channel.CHANGES.value, json.dumps({"kind": kind, "key": key}))
        except AWAY as error:
            log.warning("cache_drop_postponed", kind=kind, error=str(error))
        else:
            self._owed.discard((kind, key))

    async def _mark(self, kind: str, key: str) -> None:
        await self._cache.set(_PREFIX + f"{kind}.{key}", _DROPPED, ex=_MARKED)

    async def follow(self) -> None:
        """Hear what others drop; runs until cancelled. Until it hears, this process keeps nothing."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._hear())
                tasks.create_task(self._make_up_forever())
        finally:
            self._hears = False
            self._kept.clear()

    async def _hear(self) -> None:
        async for message in listen(self._cache, Channel.CHANGES):
            if message.channel is None:
                self._kept.clear()
                self._drops += 1
                self._hears = not message.interrupted
            else:
                self._forget(message.data.get("kind"), message.data.get("key"))

    async def _make_up_forever(self) -> None:
        """Drop in Redis what could not be dropped."""
        while True:
            await asyncio.sleep(_RETRY)
            for kind, key in list(self._owed):
                await self._drop(kind, key)

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
