"""What governs each MCP: a table in memory that pub/sub keeps fresh."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog
from redis.asyncio import Redis

from gateway.policy.prepared import PreparedPolicy
from mcp_platform.contracts.policies import Governance
from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.engine import Database
from storage.sql.policies import PolicyRepository

log = structlog.get_logger(__name__)

_NOBODY: Final = UUID(int=0)

Asked = Callable[[UUID, str], None]
"""Told which MCP's definitions somebody asks for, and the id of the question."""
Changed = Callable[[UUID], None]


class Policies:
    """All policies; an MCP that is not among them has the default.

    Readings follow one another under a lock, so an older one never replaces a newer one. A policy that
    is read again and is the same keeps its prepared object, with what was found out under it.
    """

    def __init__(self, database: Database, cache: Redis) -> None:
        self._database = database
        self._cache = cache
        self._policies: dict[UUID, PreparedPolicy] = {}
        self._default = PreparedPolicy(Governance(mcp_id=_NOBODY))
        self._reading = asyncio.Lock()
        self._listeners: list[Changed] = []
        self._asked: Asked | None = None

    def of(self, mcp_id: UUID) -> PreparedPolicy:
        """Give what governs an MCP."""
        return self._policies.get(mcp_id, self._default)

    @property
    def all(self) -> list[PreparedPolicy]:
        """All policies that are not the default."""
        return list(self._policies.values())

    def on_change(self, listener: Changed) -> Callable[[], None]:
        """Tell the listener which MCP's policy is another than it was; the function given back ends that."""
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    def on_question(self, asked: Asked) -> None:
        """Have questions for the definitions that servers offer answered."""
        self._asked = asked

    async def until_private(self, mcp_id: UUID) -> None:
        """Return once an MCP is not public any more."""
        changed = asyncio.Event()
        end = self.on_change(lambda _: changed.set())
        try:
            while self.of(mcp_id).public:
                changed.clear()
                await changed.wait()
        finally:
            end()

    async def refresh(self, mcp_id: UUID | None = None) -> None:
        """Read one MCP's policy anew, or all."""
        async with self._reading:
            async with self._database.read() as session:
                found = {each.mcp_id: each for each in await PolicyRepository(session).governance(mcp_id)}
            known = list(self._policies) if mcp_id is None else [mcp_id]
            for number in {*known, *found}:
                self._put(number, found.get(number))

    async def follow(self) -> None:
        """Read anew whatever a message names; runs until cancelled."""
        async for message in listen(self._cache, Channel.POLICIES):
            if message.interrupted:
                continue
            mcp_id = _which(message.data.get("mcp_id")) if message.channel is not None else None
            question = message.data.get("ask")
            if mcp_id is not None and isinstance(question, str):
                if self._asked is not None:
                    self._asked(mcp_id, question)
            else:
                await self._refresh_or_log(mcp_id)

    async def refresh_forever(self, interval: float) -> None:
        """Read all policies at every interval, in case a message was lost; runs until cancelled."""
        while True:
            await asyncio.sleep(interval)
            await self._refresh_or_log(None)

    async def _refresh_or_log(self, mcp_id: UUID | None) -> None:
        try:
            await self.refresh(mcp_id)
        except Exception:
            # Whatever it was, the policies we have are better than none, and we ask again.
            log.exception("policies_not_read", mcp_id=str(mcp_id))

    def _put(self, mcp_id: UUID, governance: Governance | None) -> None:
        known = self._policies.get(mcp_id)
        if governance is None:
            if known is None:
                return
            del self._policies[mcp_id]
        elif known is not None and known.governance == governance:
            return
        else:
            if governance.policy is None:
                log.error("policy_not_understood", mcp_id=str(mcp_id))
            self._policies[mcp_id] = PreparedPolicy(governance)
        for listener in list(self._listeners):
            try:
                listener(mcp_id)
            except Exception:
                log.exception("listener_failed", mcp_id=str(mcp_id))


def _which(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None
