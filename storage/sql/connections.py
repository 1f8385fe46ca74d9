"""Connections to repositories and their definitions; this module never sees a token."""

import builtins
import hashlib
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from mcp_platform.contracts.github import (
    Connection,
    ConnectionState,
    Definition,
    SealedConnection,
    WebhookState,
)
from storage.sql.connection_tables import ConnectionDefinitionRow, ConnectionRow
from storage.sql.engine import SessionT, WriteSession
from storage.sql.repository import Page, Repository, changed_rows, inserted, is_duplicate

_HIDDEN = ConnectionState.CONNECTING.value


class ConnectionRepository(Repository[SessionT]):
    """Connections by id, owner and repository, and their definitions.

    One that is still being made is found by its id alone.
    """

    async def add(self: "ConnectionRepository[WriteSession]", new: SealedConnection) -> None:
        """Record a connection that is being made."""
        values = _values(new.connection.model_dump(mode="python")) | {
            "repository_key": new.connection.full_name.lower(),
            "sealed_token": new.sealed_token,
            "sealed_webhook_secret": new.sealed_webhook_secret,
        }
        await self._session.execute(insert(ConnectionRow).values(values))

    async def get(self, connection_id: UUID) -> Connection | None:
        """Find a connection."""
        found = await self.sealed(connection_id)
        return found.connection if found is not None else None

    async def sealed(self, connection_id: UUID) -> SealedConnection | None:
        """Find a connection with its sealed secrets."""
        query = select(ConnectionRow).where(ConnectionRow.id == connection_id)
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _sealed(row) if row else None

    async def list(self, *, owner_id: UUID | None, page: int, page_size: int) -> Page[Connection]:
        """List one page, newest first, of one account's connections or of everybody's."""
        query = select(ConnectionRow).where(ConnectionRow.state != _HIDDEN)
        if owner_id is not None:
            query = query.where(ConnectionRow.owner_id == owner_id)
        query = query.order_by(ConnectionRow.created_at.desc(), ConnectionRow.id.desc())
        rows, total = await self._rows(query, page, page_size)
        return Page([_connection(row) for row in rows], total)

    async def count_of(self, owner_id: UUID) -> int:
        """Count an account's connections, those too that are still being made."""
        query = select(func.count()).select_from(ConnectionRow).where(ConnectionRow.owner_id == owner_id)
        return await self._session.scalar(query) or 0

    async def of_repository(self, full_name: str, most: int | None = None) -> builtins.list[SealedConnection]:
        """List everybody's connections to a repository of this name, on whichever GitHub, oldest first."""
        query = select(ConnectionRow).where(
            ConnectionRow.repository_key == full_name.lower(), ConnectionRow.state != _HIDDEN
        )
        query = query.order_by(ConnectionRow.created_at, ConnectionRow.id).limit(most)
        return [_sealed(row) for row in await self._session.scalars(query)]

    async def of_installation(self, installation_id: int) -> builtins.list[SealedConnection]:
        """List the connections that an App's installation is the credential of, oldest first."""
        query = select(ConnectionRow).where(
            ConnectionRow.installation_id == installation_id, ConnectionRow.state != _HIDDEN
        )
        query = query.order_by(ConnectionRow.created_at, ConnectionRow.id)
        return [_sealed(row) for row in await self._session.scalars(query)]

    async def of_mcp(self, mcp_id: UUID) -> builtins.list[Connection]:
        """List the connections that keep an MCP in step with a definition, oldest first."""
        bound = select(ConnectionDefinitionRow.connection_id).where(ConnectionDefinitionRow.mcp_id == mcp_id)
        query = select(ConnectionRow).where(ConnectionRow.id.in_(bound), ConnectionRow.state != _HIDDEN)
        query = query.order_by(ConnectionRow.created_at, ConnectionRow.id)
        return [_connection(row) for row in await self._session.scalars(query)]

    async def elsewhere(self, wanted: Connection) -> UUID | None:
        """Find another connection of the same account to the same repository, branch and path."""
        row = ConnectionRow
        query = select(row.id).where(row.slot == _slot(wanted), row.id != wanted.id)
        return await self._session.scalar(query.with_for_update())

    async def watched(self, after: UUID | None, limit: int) -> builtins.list[SealedConnection]:
        """List connections that no webhook tells of pushes, by id from behind `after` on."""
        query = select(ConnectionRow).where(
            ConnectionRow.webhook == WebhookState.REFUSED.value,
            ConnectionRow.state == ConnectionState.CONNECTED.value,
        )
        if after is not None:
            query = query.where(ConnectionRow.id > after)
        query = query.order_by(ConnectionRow.id).limit(limit)
        return [_sealed(row) for row in await self._session.scalars(query)]

    async def update(
        self: "ConnectionRepository[WriteSession]", connection_id: UUID, now: datetime, **values: object
    ) -> bool:
        """Change columns of a connection, by the names of the contract; false when it is gone."""
        changed = update(ConnectionRow).where(ConnectionRow.id == connection_id)
        return bool(await changed_rows(self._session, changed.values(updated_at=now, **_values(values))))

    async def settle(
        self: "ConnectionRepository[WriteSession]", settled: Connection, now: datetime
    ) -> UUID | None:
        """Write which repository, branch and path a connection is to, as GitHub spells them.

        Gives the id of the connection that is to the same place already; nothing is changed then.
        """
        if (holder := await self.elsewhere(settled)) is not None:
            return holder
        values = {
            "full_name": settled.full_name,
            "repository_key": settled.full_name.lower(),
            "branch": settled.branch,
            "path": settled.path,
            "slot": _slot(settled),
        }
        try:
            await self.update(settled.id, now, **values)
        except IntegrityError as error:
            # Somebody else was first, a moment ago.
            holder = await self.elsewhere(settled) if is_duplicate(error) else None
            if holder is None:
                raise
            return holder
        return None

    async def delete(self: "ConnectionRepository[WriteSession]", connection_id: UUID) -> bool:
        """Forget a connection, its secrets and its definitions; false when there is none."""
        gone = delete(ConnectionRow).where(ConnectionRow.id == connection_id)
        return bool(await changed_rows(self._session, gone))

    async def forget_unfinished(self: "ConnectionRepository[WriteSession]", before: datetime) -> int:
        """Forget connections that nobody went on making since then; how many there were."""
        stale = delete(ConnectionRow).where(ConnectionRow.state == _HIDDEN, ConnectionRow.updated_at < before)
        return await changed_rows(self._session, stale)

    async def definitions(self, connection_id: UUID) -> builtins.list[Definition]:
        """List a connection's definitions by path and entry, those that are gone too."""
        query = select(ConnectionDefinitionRow).where(ConnectionDefinitionRow.connection_id == connection_id)
        found = [_definition(row) for row in await self._session.scalars(query)]
        return sorted(found, key=lambda each: (each.path, each.entry))

    async def put_definition(self: "ConnectionRepository[WriteSession]", definition: Definition) -> None:
        """Record a definition as it was synced, in place of what was recorded at its path and entry."""
        place = _place(definition.path, definition.entry)
        values = definition.model_dump(mode="python")
        there = update(ConnectionDefinitionRow).where(
            ConnectionDefinitionRow.connection_id == definition.connection_id,
            ConnectionDefinitionRow.place == place,
        )
        if await changed_rows(self._session, there.values(values)):
            return
        new = insert(ConnectionDefinitionRow).values(values | {"place": place})
        await inserted(self._session, new)

    async def delete_definition(
        self: "ConnectionRepository[WriteSession]", connection_id: UUID, path: str, entry: str
    ) -> bool:
        """Forget a definition; false when there is none."""
        gone = delete(ConnectionDefinitionRow).where(
            ConnectionDefinitionRow.connection_id == connection_id,
            ConnectionDefinitionRow.place == _place(path, entry),
        )
        return bool(await changed_rows(self._session, gone))


def _slot(wanted: Connection) -> str:
    """Digest what only one connection may be: one account's, to one path of one branch of a repository."""
    parts = (wanted.owner_id.hex, wanted.api_url, wanted.full_name.lower(), wanted.branch, wanted.path)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _place(path: str, entry: str) -> str:
    return hashlib.sha256(f"{path}\0{entry}".encode()).hexdigest()


def _values(values: dict[str, object]) -> dict[str, object]:
    """Write members of enumerations as the words that they are."""
    return {name: getattr(value, "value", value) for name, value in values.items()}


def _connection(row: ConnectionRow) -> Connection:
    return Connection.model_validate(row, from_attributes=True)


def _sealed(row: ConnectionRow) -> SealedConnection:
    return SealedConnection(
        connection=_connection(row),
        sealed_token=row.sealed_token,
        sealed_webhook_secret=row.sealed_webhook_secret,
    )


def _definition(row: ConnectionDefinitionRow) -> Definition:
    return Definition.model_validate(row, from_attributes=True)
