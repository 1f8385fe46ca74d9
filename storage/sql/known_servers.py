"""Servers that a registry of MCP servers has: known, and tried by nobody here."""

import builtins
from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, func, insert, select

from mcp_platform.contracts.known import KnownServer, RegistryServer
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Repository, changed_rows
from storage.sql.tables import KnownServerRow


class KnownServerRepository(Repository[SessionT]):
    """The registry's servers, by the registry's names for them."""

    async def stamp(self) -> tuple[int, datetime | None]:
        """Give what is another one after each change: how many there are, and when the last was written."""
        counted = select(func.count(), func.max(KnownServerRow.changed_at))
        count, newest = (await self._session.execute(counted)).one()
        return count, newest

    async def list(self) -> builtins.list[KnownServer]:
        """List all, in the order of their names."""
        rows = await self._session.scalars(select(KnownServerRow.server).order_by(KnownServerRow.name))
        return [KnownServer.model_validate(server) for server in rows]

    async def put(
        self: "KnownServerRepository[WriteSession]", servers: Sequence[RegistryServer], most: int
    ) -> int:
        """Write servers anew, as far as their slugs are free and there are no more than so many; how many."""
        # Of a name that is there twice the last counts.
        wanted = {each.name: each.server for each in servers}
        await self.remove(wanted)
        room = most - (await self.stamp())[0]
        slugs = {server.slug for server in wanted.values()}
        taken = set(
            await self._session.scalars(select(KnownServerRow.slug).where(KnownServerRow.slug.in_(slugs)))
        )
        now = datetime.now(UTC)
        values: builtins.list[dict[str, object]] = []
        for name, server in wanted.items():
            if server.slug not in taken and len(values) < room:
                taken.add(server.slug)
                values.append(
                    {
                        "name": name,
                        "slug": server.slug,
                        "server": server.model_dump(mode="json"),
                        "changed_at": now,
                    }
                )
        if values:
            await self._session.execute(insert(KnownServerRow), values)
        return len(values)

    async def remove(self: "KnownServerRepository[WriteSession]", names: Collection[str]) -> int:
        """Forget servers; how many there were."""
        return await changed_rows(
            self._session, delete(KnownServerRow).where(KnownServerRow.name.in_(list(names)))
        )

    async def clear(self: "KnownServerRepository[WriteSession]") -> None:
        """Forget all."""
        await self._session.execute(delete(KnownServerRow))
