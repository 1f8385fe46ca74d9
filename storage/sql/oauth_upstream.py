"""Authorizations of the platform at remote servers; this module never sees a token."""

import builtins
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, insert, or_, select, update

from mcp_platform.contracts.oauth import AuthorizationState, SealedAuthorization, UpstreamAuthorization
from mcp_platform.security.api_keys import api_key_hash
from storage.sql.engine import SessionT, WriteSession
from storage.sql.oauth_tables import UpstreamAuthorizationRow, UpstreamIssuerRow
from storage.sql.repository import Repository, changed_rows


class UpstreamAuthorizationRepository(Repository[SessionT]):
    """Authorizations by id, and by MCP."""

    async def add(
        self: "UpstreamAuthorizationRepository[WriteSession]",
        authorization: UpstreamAuthorization,
        wanted_scope: str | None,
    ) -> None:
        """Record an authorization that begins."""
        values = authorization.model_dump(mode="python") | {
            "state": authorization.state.value,
            "wanted_scope": wanted_scope,
        }
        await self._session.execute(insert(UpstreamAuthorizationRow).values(values))

    async def get(self, authorization_id: UUID) -> SealedAuthorization | None:
        """Find an authorization."""
        query = select(UpstreamAuthorizationRow).where(UpstreamAuthorizationRow.id == authorization_id)
        row = await self._session.scalar(query.execution_options(populate_existing=True))
        return _sealed(row) if row else None

    async def list(self, mcp_id: UUID, user_id: UUID | None = None) -> builtins.list[UpstreamAuthorization]:
        """List an MCP's authorizations, the newest first; with a user, theirs and those for all."""
        query = select(UpstreamAuthorizationRow).where(
            UpstreamAuthorizationRow.mcp_id == mcp_id,
            UpstreamAuthorizationRow.state != AuthorizationState.ENDED.value,
        )
        if user_id is not None:
            theirs = UpstreamAuthorizationRow.user_id == user_id
            query = query.where(or_(theirs, UpstreamAuthorizationRow.user_id.is_(None)))
        query = query.order_by(UpstreamAuthorizationRow.created_at.desc(), UpstreamAuthorizationRow.id)
        return [_authorization(row) for row in await self._session.scalars(query)]

    async def active(self, mcp_id: UUID | None = None) -> builtins.list[SealedAuthorization]:
        """List those that hold: of one MCP, or of all."""
        query = select(UpstreamAuthorizationRow).where(
            UpstreamAuthorizationRow.state == AuthorizationState.ACTIVE.value
        )
        if mcp_id is not None:
            query = query.where(UpstreamAuthorizationRow.mcp_id == mcp_id)
        return [_sealed(row) for row in await self._session.scalars(query)]

    async def change(
        self: "UpstreamAuthorizationRepository[WriteSession]",
        authorization_id: UUID,
        states: builtins.list[AuthorizationState],
        now: datetime,
        **values: object,
    ) -> bool:
        """Write down what became of an authorization; false when it is in none of these states any more."""
        state = values.get("state")
        if isinstance(state, AuthorizationState):
            values["state"] = state.value
        there = update(UpstreamAuthorizationRow).where(
            UpstreamAuthorizationRow.id == authorization_id,
            UpstreamAuthorizationRow.state.in_([each.value for each in states]),
        )
        return bool(await changed_rows(self._session, there.values(updated_at=now, **values)))

    async def delete(self: "UpstreamAuthorizationRepository[WriteSession]", authorization_id: UUID) -> bool:
        """Forget an authorization; false when there is none."""
        gone = delete(UpstreamAuthorizationRow).where(UpstreamAuthorizationRow.id == authorization_id)
        return bool(await changed_rows(self._session, gone))

    async def supersede(
        self: "UpstreamAuthorizationRepository[WriteSession]", kept: UpstreamAuthorization, now: datetime
    ) -> builtins.list[UUID]:
        """End what this authorization takes the place of: older ones of the same server and user.

        Gives those that held, whose tokens are still there; the others are forgotten.
        """
        row = UpstreamAuthorizationRow
        same = (
            row.mcp_id == kept.mcp_id,
            row.server == kept.server,
            row.user_id == kept.user_id if kept.user_id is not None else row.user_id.is_(None),
            row.id != kept.id,
            row.created_at <= kept.created_at,
        )
        held = row.state == AuthorizationState.ACTIVE.value
        found = list(await self._session.scalars(select(row.id).where(*same, held).order_by(row.id)))
        ended = update(row).where(row.id.in_(found))
        await self._session.execute(ended.values(state=AuthorizationState.ENDED.value, updated_at=now))
        gone = delete(row).where(*same, row.state != AuthorizationState.ENDED.value)
        await self._session.execute(gone)
        return found


class UpstreamIssuerRepository(Repository[SessionT]):
    """Which authorization server a client's secret is for, by MCP and server."""

    async def bind(
        self: "UpstreamIssuerRepository[WriteSession]",
        authorization: UpstreamAuthorization,
        client_id: str,
        issuer: str,
    ) -> str:
        """Bind a client to an authorization server, unless it is bound; to which it is bound now."""
        row, client_hash = UpstreamIssuerRow, api_key_hash(client_id)
        there = (row.mcp_id == authorization.mcp_id, row.server == authorization.server)
        found = await self._session.scalar(select(row).where(*there).with_for_update())
        if found is not None and found.client_hash == client_hash:
            return found.issuer
        # Another client than before is bound anew.
        await self._session.execute(delete(row).where(*there))
        values = {"mcp_id": authorization.mcp_id, "server": authorization.server}
        await self._session.execute(insert(row).values(**values, client_hash=client_hash, issuer=issuer))
        return issuer


def _authorization(row: UpstreamAuthorizationRow) -> UpstreamAuthorization:
    return UpstreamAuthorization.model_validate(row, from_attributes=True)


def _sealed(row: UpstreamAuthorizationRow) -> SealedAuthorization:
    return SealedAuthorization(
        authorization=_authorization(row),
        wanted_scope=row.wanted_scope,
        sealed_registration=row.sealed_registration,
        sealed_tokens=row.sealed_tokens,
        sealed_code=row.sealed_code,
    )
