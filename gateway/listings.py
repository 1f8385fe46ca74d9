"""What servers list: tools, prompts, resources. Read through the relay, and kept for a while."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar

import orjson
import structlog

from gateway.relay import Relay
from gateway.requests import RelayedRequest
from mcp_platform.errors import NotFound, PlatformError, UpstreamFailed, UpstreamTimedOut
from mcp_platform.wire import METHOD_NOT_FOUND, Era, RpcError

log = structlog.get_logger(__name__)

KEPT: Final = 60.0
"""Seconds after which a list is read anew, in case its server never tells of changes."""
_FAILURE_KEPT: Final = 2.0
_READING: Final = 10.0
"""Seconds that reading all pages of one list may take."""
_DEBOUNCE: Final = 0.1
"""Seconds in which several changes are one."""
_MAX_PAGES: Final = 100
_MAX_ITEMS: Final = 10_000
_MAX_ROUNDS: Final = 3
"""How often a list is read anew that changes while it is read."""

Failure = PlatformError | RpcError
FAILURES: Final = (PlatformError, RpcError)


@dataclass(frozen=True)
class Kind:
    """A sort of list: the method that reads it, where the items are, and what names an item."""

    method: str
    member: str
    name: str


TOOLS: Final = Kind("tools/list", "tools", "name")
PROMPTS: Final = Kind("prompts/list", "prompts", "name")
RESOURCES: Final = Kind("resources/list", "resources", "uri")
TEMPLATES: Final = Kind("resources/templates/list", "resourceTemplates", "uriTemplate")


@dataclass(frozen=True, eq=False)
class Listing:
    """What a server listed, at one time."""

    slug: str
    items: dict[str, dict[str, Any]]
    """As the server wrote them, by name or URI, in its order."""
    digest: str
    """Of all of it: another one is another list."""
    read_at: float
    """By the monotonic clock."""


L = TypeVar("L", bound=Listing)
Make = Callable[[str, dict[str, dict[str, Any]], str, float], L]


@dataclass(eq=False)
class _Entry(Generic[L]):
    listing: L | None = None
    generation: int = 0
    """How often it was forgotten."""
    fresh: bool = False
    """Whether the listing was read after it was forgotten last."""
    failed_at: float = 0.0
    failing_since: float | None = None
    error: Failure | None = None
    reading: asyncio.Task[None] | None = field(default=None, repr=False)


class Listings(Generic[L]):
    """Lists of one kind, by slug.

    One reading at a time of each; whoever wants it meanwhile waits for that. A list is kept until it is
    forgotten, or for a minute. Where reading fails the last good list goes on being given for a grace
    time, and the next attempt is made two seconds later at the earliest.

    Args:
        grace: Seconds for which the last list of a server that does not answer is given.
    """

    def __init__(self, relay: Relay, kind: Kind, make: Make[L], grace: float) -> None:
        self._relay = relay
        self._kind = kind
        self._make = make
        self._grace = grace
        self._entries: dict[str, _Entry[L]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._readers: list[Callable[[str], None]] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, slug: str, timeout: float) -> L:
        """Give the slug's list: the one that is kept, or all pages anew.

        Raises:
            NotFound: Nothing is deployed under the slug.
            PlatformError: The server could not be asked, and has not been for longer than the grace time.
            RpcError: The server's own error, likewise.
        """
        entry = self._entry(slug)
        now = time.monotonic()
        listing = entry.listing
        if listing is not None and self._relay.find(slug).route.asleep:
            return listing  # a list alone is no reason to wake it
        if listing is not None and entry.fresh:
            age = now - listing.read_at
            if age < KEPT:
                if age > KEPT / 2 and self._may_try(entry, now):
                    self._begin(slug, entry)  # so that nobody has to wait in the next half
                return listing
        if self._may_try(entry, now):
            reading = self._begin(slug, entry)
            await asyncio.wait({reading}, timeout=timeout)
        return self._outcome(slug, entry)

    def known(self, slug: str) -> L | None:
        """Give the list as it was read last, without asking anybody; None after the grace time."""
        entry = self._entries.get(slug)
        return None if entry is None or not self._graceful(entry) else entry.listing

    def last(self, slug: str) -> L | None:
        """Give the list as it was read last, however long ago that was."""
        entry = self._entries.get(slug)
        return None if entry is None else entry.listing

    def forget(self, slug: str) -> None:
        """Note that the slug's list is another now: who wants it waits for a new reading.

        Where anybody has read it before, it is read again in the background.
        """
        entry = self._entries.get(slug)
        if entry is None:
            return
        entry.generation += 1
        entry.fresh = False
        entry.failed_at = 0.0
        self._keep(self._read_again(slug, entry))

    def on_change(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell the listener which slug's list is another than it was; the function given back ends that."""
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def on_read(self, listener: Callable[[str], None]) -> None:
        """Tell the listener which slug's list was read, whether it is another or not."""
        self._readers.append(listener)

    def failing(self, slug: str) -> Failure | None:
        """Give the error of the last reading, if it failed."""
        entry = self._entries.get(slug)
        return None if entry is None else entry.error

    async def close(self) -> None:
        """Give up what is being read."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _entry(self, slug: str) -> _Entry[L]:
        try:
            self._relay.find(slug)
        except NotFound:
            self._drop(slug)
            raise
        return self._entries.setdefault(slug, _Entry())

    def _drop(self, slug: str) -> None:
        if self._entries.pop(slug, None) is not None:
            self._tell(slug, self._listeners)

    def _may_try(self, entry: _Entry[L], now: float) -> bool:
        return entry.error is None or now - entry.failed_at >= _FAILURE_KEPT

    def _graceful(self, entry: _Entry[L]) -> bool:
        since = entry.failing_since
        return since is None or time.monotonic() - since < self._grace

    def _outcome(self, slug: str, entry: _Entry[L]) -> L:
        if entry.listing is not None and self._graceful(entry):
            return entry.listing
        if entry.error is not None:
            raise entry.error
        raise UpstreamTimedOut(f"{slug!r} did not answer {self._kind.method} in time")

    def _begin(self, slug: str, entry: _Entry[L]) -> asyncio.Task[None]:
        if entry.reading is None or entry.reading.done():
            entry.reading = self._keep(self._fill(slug, entry))
        return entry.reading

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _read_again(self, slug: str, entry: _Entry[L]) -> None:
        generation = entry.generation
        await asyncio.sleep(_DEBOUNCE)
        if entry.generation == generation and not entry.fresh and self._entries.get(slug) is entry:
            await asyncio.wait({self._begin(slug, entry)})

    async def _fill(self, slug: str, entry: _Entry[L]) -> None:
        """Read until the list was not forgotten meanwhile; note what came of it."""
        for _ in range(_MAX_ROUNDS):
            generation = entry.generation
            try:
                async with asyncio.timeout(_READING):
                    items = await self._pages(slug)
            except TimeoutError:
                self._note_failure(slug, entry, UpstreamTimedOut(f"{slug!r} did not list in time"))
            except FAILURES as error:
                self._note_failure(slug, entry, error)
            else:
                entry.fresh = generation == entry.generation
                self._note(slug, entry, items)
            if generation == entry.generation:
                return

    def _note_failure(self, slug: str, entry: _Entry[L], error: Failure) -> None:
        now, deployed = time.monotonic(), self._is_deployed(slug)
        if entry.failing_since is None:
            entry.failing_since = now
            if deployed:  # nothing is wrong otherwise
                log.warning("list_not_read", slug=slug, method=self._kind.method, error=str(error))
        entry.failed_at, entry.error = now, error
        if not deployed:
            self._drop(slug)

    def _is_deployed(self, slug: str) -> bool:
        with suppress(NotFound):
            self._relay.find(slug)
            return True
        return False

    def _note(self, slug: str, entry: _Entry[L], items: dict[str, dict[str, Any]]) -> None:
        digest = blake2b(orjson.dumps(list(items.values())), digest_size=16).hexdigest()
        former = entry.listing
        returned = not self._graceful(entry)
        entry.error = entry.failing_since = None
        entry.listing = self._make(slug, items, digest, time.monotonic())
        if former is None or returned or former.digest != digest:
            self._tell(slug, self._listeners)
        self._tell(slug, self._readers)

    def _tell(self, slug: str, listeners: list[Callable[[str], None]]) -> None:
        for listener in list(listeners):
            try:
                listener(slug)
            except Exception:
                log.exception("listener_failed", slug=slug)

    async def _pages(self, slug: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        params: dict[str, Any] | None = None
        for _ in range(_MAX_PAGES):
            try:
                page = await self._relay.send(
                    RelayedRequest(slug, self._kind.method, params, Era.LEGACY, _READING)
                )
            except RpcError as error:
                if error.code == METHOD_NOT_FOUND:
                    return found  # it offers none of the kind
                raise
            found |= _items(page, self._kind)
            cursor = page.get("nextCursor")
            if not isinstance(cursor, str):
                return found
            if len(found) > _MAX_ITEMS:
                break
            params = {"cursor": cursor}
        raise UpstreamFailed(
            f"{slug!r} lists more than {_MAX_PAGES} pages or {_MAX_ITEMS} {self._kind.member}"
        )


def _items(page: dict[str, Any], kind: Kind) -> dict[str, dict[str, Any]]:
    items = page.get(kind.member)
    if not isinstance(items, list):
        return {}
    return {
        item[kind.name]: item
        for item in items
        if isinstance(item, dict) and isinstance(item.get(kind.name), str)
    }
