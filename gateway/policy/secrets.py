"""The secrets of MCPs whose results are redacted: opened before the first call, and kept for a while."""

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from gateway.policy.redaction import SHORTEST, SHOWN, Redactor
from mcp_platform.names import Collection
from mcp_platform.variables import references
from storage.secrets import SecretValues
from storage.stores import Stores

_KEPT: Final = 30.0
"""Seconds after which they are read anew, in the background."""


@dataclass
class _Entry:
    redactor: Redactor
    read_at: float


class Redactors:
    """Redactors by MCP."""

    def __init__(self, stores: Stores, secrets: SecretValues) -> None:
        self._stores = stores
        self._secrets = secrets
        self._entries: dict[UUID, _Entry] = {}
        self._opening: dict[UUID, asyncio.Task[None]] = {}

    async def of(self, mcp_id: UUID) -> Redactor:
        """Give an MCP's; only the first call has to wait for it.

        Raises:
            Unavailable: The stores are away, and nothing was read before.
            UnreadableSecret: A secret was sealed under a master key that is not known here.
        """
        entry = self._entries.get(mcp_id)
        if entry is None or time.monotonic() - entry.read_at > _KEPT:
            reading = self._opening.get(mcp_id)
            if reading is None:
                reading = self._opening[mcp_id] = asyncio.create_task(self._open(mcp_id))
                reading.add_done_callback(lambda task: self._opened(mcp_id, task))
            if entry is None:
                await asyncio.shield(reading)
                entry = self._entries[mcp_id]
        return entry.redactor

    async def close(self) -> None:
        """Give up what is being read, and forget the secrets."""
        reading = list(self._opening.values())
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        self._entries.clear()

    def _opened(self, mcp_id: UUID, task: asyncio.Task[None]) -> None:
        self._opening.pop(mcp_id, None)
        if not task.cancelled():
            task.exception()  # whoever waits for it has it; with the former secrets calls go on

    async def _open(self, mcp_id: UUID) -> None:
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(mcp_id)
            number = await rows.mcps.deployed(mcp_id)
            deployment = await rows.deployments.get(number) if number else None
        keys = {each.config_key for each in (mcp, deployment) if each is not None}
        configs = await self._stores.documents.get_many(Collection.CONFIGS, sorted(keys))
        variables = await self._secrets.variables(mcp_id, references(list(configs.values())))
        redactor = Redactor(variables.masking(SHOWN, SHORTEST))
        self._entries[mcp_id] = _Entry(redactor, time.monotonic())
