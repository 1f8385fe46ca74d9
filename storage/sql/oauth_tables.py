"""The tables of OAuth: clients, what users granted them, and what remote servers granted us."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from storage.sql.base import Base
from storage.sql.types import LONG_TEXT, ClippedText, JsonText


class OAuthClientRow(Base):
    """A client that registered itself; of its secret only the hash is known."""

    __tablename__ = "oauth_clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str]
    redirect_uris: Mapped[list[str]] = mapped_column(JsonText)
    authentication: Mapped[str] = mapped_column(String(32))
    secret_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime] = mapped_column(index=True)


class OAuthGrantRow(Base):
    """What a user lets a client do, with the code by which the client gets its first tokens."""

    __tablename__ = "oauth_grants"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    client_id: Mapped[str] = mapped_column(String(512))
    client_name: Mapped[str]
    resource: Mapped[str] = mapped_column(String(512))
    scope: Mapped[str]
    redirect_uri: Mapped[str] = mapped_column(LONG_TEXT)
    code_hash: Mapped[str] = mapped_column(String(64), unique=True)
    challenge: Mapped[str] = mapped_column(String(64))
    code_spent_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class OAuthRefreshTokenRow(Base):
    """A refresh token of a grant, which may be spent once; only its hash is known."""

    __tablename__ = "oauth_refresh_tokens"

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    grant_id: Mapped[UUID] = mapped_column(ForeignKey("oauth_grants.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    spent_at: Mapped[datetime | None]


class UpstreamIssuerRow(Base):
    """The authorization server that alone is sent a client's secret, which somebody gave by hand."""

    __tablename__ = "upstream_issuers"

    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), primary_key=True)
    server: Mapped[str] = mapped_column(primary_key=True)
    client_hash: Mapped[str] = mapped_column(String(64))
    issuer: Mapped[str] = mapped_column(LONG_TEXT)


class UpstreamAuthorizationRow(Base):
    """An authorization of the platform at a remote server; without a user it is for all callers."""

    __tablename__ = "upstream_authorizations"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    mcp_id: Mapped[UUID] = mapped_column(ForeignKey("mcps.id", ondelete="CASCADE"), index=True)
    server: Mapped[str]
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(ClippedText)
    wanted_scope: Mapped[str | None] = mapped_column(ClippedText)
    resource: Mapped[str] = mapped_column(LONG_TEXT)
    issuer: Mapped[str] = mapped_column(LONG_TEXT)
    scope: Mapped[str] = mapped_column(ClippedText)
    sealed_registration: Mapped[str | None] = mapped_column(LONG_TEXT)
    sealed_tokens: Mapped[str | None] = mapped_column(LONG_TEXT)
    sealed_code: Mapped[str | None] = mapped_column(LONG_TEXT)
    created_by: Mapped[UUID]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
