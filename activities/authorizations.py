"""Authorizations of the platform at remote servers: prepared, exchanged, refreshed and given back.

Workflows know their ids alone: codes and tokens lie sealed in their rows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.finishing import to_its_end
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.contracts.oauth import (
    AuthorizationRefused,
    AuthorizationState,
    AuthorizationStep,
    IssuedTokens,
    OwnClient,
    PendingCode,
    Registration,
    RemoteAway,
    SealedAuthorization,
    UpstreamAuthorization,
    UpstreamTokens,
    upstream_purpose,
)
from mcp_platform.names import Channel, Collection
from mcp_platform.variables import Unresolvable, references

if TYPE_CHECKING:
    from gateway.authorization.discovery import RemoteServers
    from mcp_platform.security.sealing import Sealer
    from mcp_platform.settings import Settings
    from storage.secrets import SecretValues
    from storage.sql.audit import AuditLog
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

C = TypeVar("C", bound=Contract)
_LIVING = [AuthorizationState.PREPARING, AuthorizationState.PENDING, AuthorizationState.ACTIVE]
_GONE = AuthorizationStep(state=AuthorizationState.ENDED)


class AuthorizationActivities:
    """What the workflow of an authorization asks for; each may be done twice."""

    def __init__(
        self,
        stores: Stores,
        sealer: Sealer,
        secrets: SecretValues,
        remote: RemoteServers,
        audit: AuditLog,
        settings: Settings,
    ) -> None:
        self._stores = stores
        self._sealer = sealer
        self._secrets = secrets
        self._remote = remote
        self._audit = audit
        self._settings = settings

    @activity.defn(name="authorizations.prepare")
    async def prepare(self, authorization_id: UUID) -> AuthorizationStep:
        """Find out who authorizes for the server, and become known there."""
        kept = await self._read(authorization_id)
        if kept is None or not _is(kept, AuthorizationState.PREPARING):
            return _step(kept)
        try:
            url, headers, own = await self._server(kept.authorization)
            known = await self._remote.discover(url, headers, own, kept.wanted_scope)
            await self._check_issuer(kept.authorization, own, known)
        except (AuthorizationRefused, Unresolvable, ValueError) as error:
            return await self._fail(kept.authorization, AuthorizationState.FAILED, str(error)[:1000])
        async with self._stores.write() as rows:
            await rows.upstream_authorizations.change(
                authorization_id,
                [AuthorizationState.PREPARING],
                datetime.now(UTC),
                state=AuthorizationState.PENDING,
                sealed_registration=self._seal(authorization_id, "registration", known),
                resource=known.resource,
                issuer=known.issuer,
                scope=known.scope,
            )
        return _step(await self._read(authorization_id))

    @activity.defn(name="authorizations.exchange")
    async def exchange(self, authorization_id: UUID) -> AuthorizationStep:
        """Exchange the code that came back for tokens."""
        return await to_its_end(self._exchange(authorization_id))

    async def _exchange(self, authorization_id: UUID) -> AuthorizationStep:
        kept = await self._read(authorization_id)
        if kept is None or not kept.sealed_code or not _is(kept, AuthorizationState.PENDING):
            return _step(kept, self._pause(kept))
        known = self._registration(kept)
        pending = self._open(authorization_id, "code", kept.sealed_code, PendingCode)
        try:
            endpoint = self._remote.endpoint(known)
            issued = await endpoint.exchange(pending.code, pending.verifier, self._redirect_uri)
        except AuthorizationRefused as error:
            return await self._fail(kept.authorization, AuthorizationState.FAILED, str(error))
        except RemoteAway as error:
            raise ApplicationError(str(error), type="RemoteAway") from None
        return await self._hold(kept, issued)

    @activity.defn(name="authorizations.refresh")
    async def refresh(self, authorization_id: UUID) -> AuthorizationStep:
        """Get the next tokens; where that is refused, whoever uses them is told."""
        # What is exchanged is given once: an answer that is lost with its worker, nobody gets again.
        return await to_its_end(self._refresh(authorization_id))

    async def _refresh(self, authorization_id: UUID) -> AuthorizationStep:
        kept = await self._read_or_give_back(authorization_id)
        if kept is None or not kept.sealed_tokens or not _is(kept, AuthorizationState.ACTIVE):
            return _step(kept)
        tokens = self._open(authorization_id, "tokens", kept.sealed_tokens, UpstreamTokens)
        if tokens.refresh_token is None:
            reason = "The token's time is over, and it cannot be refreshed"
            return await self._fail(kept.authorization, AuthorizationState.EXPIRED, reason)
        try:
            endpoint = self._remote.endpoint(self._registration(kept))
            issued = await endpoint.refresh(tokens.refresh_token)
        except AuthorizationRefused as error:
            return await self._fail(kept.authorization, AuthorizationState.EXPIRED, str(error))
        except RemoteAway as error:
            raise ApplicationError(str(error), type="RemoteAway") from None
        return await self._hold(kept, issued)

    @activity.defn(name="authorizations.look")
    async def look(self, authorization_id: UUID) -> AuthorizationStep:
        """See whether it is still wanted, where its token lasts for long."""
        kept = await self._read_or_give_back(authorization_id)
        return _step(kept, self._pause(kept))

    @activity.defn(name="authorizations.give_back")
    async def give_back(self, authorization_id: UUID) -> None:
        """Revoke the tokens as far as the remote server lets us, and forget them."""
        kept = await self._read(authorization_id)
        if kept is None:
            return
        if kept.sealed_tokens and kept.sealed_registration:
            tokens = self._open(authorization_id, "tokens", kept.sealed_tokens, UpstreamTokens)
            await self._revoke(kept, tokens)
        async with self._stores.write() as rows:
            await rows.upstream_authorizations.delete(authorization_id)
        await self._tell(kept.authorization)

    @activity.defn(name="authorizations.give_up")
    async def give_up(self, authorization_id: UUID) -> None:
        """Forget an authorization that nobody went on with."""
        async with self._stores.write() as rows:
            await rows.upstream_authorizations.delete(authorization_id)

    @property
    def _redirect_uri(self) -> str:
        return f"{self._settings.issuer}/oauth/callback"

    async def _hold(self, kept: SealedAuthorization, issued: IssuedTokens) -> AuthorizationStep:
        now, number = datetime.now(UTC), kept.authorization.id
        ends = now + timedelta(seconds=issued.expires_in) if issued.expires_in is not None else None
        values: dict[str, object] = {"scope": issued.scope} if issued.scope is not None else {}
        async with self._stores.write() as rows:
            held = await rows.upstream_authorizations.change(
                number,
                _LIVING,
                now,
                state=AuthorizationState.ACTIVE,
                sealed_tokens=self._seal(number, "tokens", issued.tokens),
                sealed_code=None,
                expires_at=ends,
                detail="",
                **values,
            )
            replaced = await rows.upstream_authorizations.supersede(kept.authorization, now) if held else []
        if not held:
            # It was ended while we asked: nobody else knows of these tokens.
            await self._revoke(kept, issued.tokens)
        after = await self._read_or_give_back(number)
        if kept.authorization.state is not AuthorizationState.ACTIVE and held:
            await self._report(kept.authorization, AuthorizationState.ACTIVE, "")
        await self._tell(kept.authorization)
        return _step(after, self._pause(after)).model_copy(update={"replaced": replaced})

    async def _read_or_give_back(self, authorization_id: UUID) -> SealedAuthorization | None:
        """Read an authorization; one that was ended is given back, for its workflow may be over too soon."""
        kept = await self._read(authorization_id)
        if kept is None or not _is(kept, AuthorizationState.ENDED):
            return kept
        await self.give_back(authorization_id)
        return None

    async def _revoke(self, kept: SealedAuthorization, tokens: UpstreamTokens) -> None:
        """Revoke tokens as far as the remote server lets us."""
        try:
            await self._remote.endpoint(self._registration(kept)).revoke(tokens)
        except RemoteAway as error:
            logger.warning("upstream_tokens_not_revoked", issuer=kept.authorization.issuer, error=str(error))

    async def _fail(
        self, authorization: UpstreamAuthorization, state: AuthorizationState, reason: str
    ) -> AuthorizationStep:
        async with self._stores.write() as rows:
            changed = await rows.upstream_authorizations.change(
                authorization.id, _LIVING, datetime.now(UTC), state=state, detail=reason, sealed_code=None
            )
        if changed:
            await self._report(authorization, state, reason)
            await self._tell(authorization)
        return AuthorizationStep(state=state, detail=reason)

    async def _tell(self, authorization: UpstreamAuthorization) -> None:
        await self._stores.publish(Channel.AUTHORIZATIONS, {"mcp_id": str(authorization.mcp_id)})

    async def _report(
        self, authorization: UpstreamAuthorization, state: AuthorizationState, reason: str
    ) -> None:
        """Tell the user, and the audit log."""
        data = {
            "authorization_id": str(authorization.id),
            "tool_id": str(authorization.mcp_id),
            "server": authorization.server,
            "status": state.value,
            "detail": reason,
            "for_all": authorization.user_id is None,
        }
        event = Event(type=EventType.AUTHORIZATION_STATUS, owner_id=authorization.created_by, data=data)
        await self._stores.publish(Channel.EVENTS, event)
        good = state is AuthorizationState.ACTIVE
        entry = AuditEvent(
            at=datetime.now(UTC),
            actor_name="platform",
            action="authorizations.status",
            resource_type="authorization",
            resource_id=str(authorization.id),
            outcome=AuditOutcome.SUCCESS if good else AuditOutcome.FAILED,
            status=0,
            details={name: data[name] for name in ("tool_id", "server", "status", "detail")},
        )
        await self._audit.append([entry])

    async def _server(self, authorization: UpstreamAuthorization) -> tuple[str, dict[str, str], OwnClient]:
        """Read where the server is, what it is sent, and as whom its author registered the platform."""
        async with self._stores.read() as rows:
            mcp = await rows.mcps.get(authorization.mcp_id)
        body = mcp and await self._stores.documents.get(Collection.CONFIGS, mcp.config_key)
        server = McpConfig.model_validate(body or {}).server(authorization.server)
        names = references(server.model_dump(include={"url", "headers", "oauth"}))
        variables = await self._secrets.variables(authorization.mcp_id, names)
        own = server.oauth
        issuer = self._settings.issuer
        document = f"{issuer}/oauth/client-metadata.json" if self._settings.oauth.client_metadata else None
        client = OwnClient(
            redirect_uri=self._redirect_uri,
            metadata_url=document,
            client_id=variables.resolve(own.client_id) if own and own.client_id else None,
            client_secret=variables.resolve(own.client_secret) if own and own.client_secret else None,
            issuer=own.issuer if own else None,
        )
        return variables.resolve(_url(server)), variables.resolve_headers(server.headers), client

    async def _check_issuer(
        self, authorization: UpstreamAuthorization, own: OwnClient, known: Registration
    ) -> None:
        """Keep a secret that somebody gave for one authorization server from any other.

        Who authorizes for a remote server is what that server says now, and it may say another tomorrow.

        Raises:
            AuthorizationRefused: This one is another.
        """
        bound = own.issuer
        if bound is None and own.client_id is not None and own.client_secret is not None:
            async with self._stores.write() as rows:
                bound = await rows.upstream_issuers.bind(authorization, own.client_id, known.issuer)
        if bound is not None and bound.rstrip("/") != known.issuer.rstrip("/"):
            raise AuthorizationRefused(
                f"The server names {known.issuer} as its authorization server, but its client_id and"
                f" client_secret are for {bound}; if that is right, name it as issuer in the oauth field"
            )

    def _pause(self, kept: SealedAuthorization | None) -> float | None:
        """Give the seconds until the token is to be refreshed."""
        ends = kept.authorization.expires_at if kept is not None else None
        if ends is None:
            return None
        left = (ends - datetime.now(UTC)).total_seconds()
        return max(left - min(self._settings.oauth.refresh_ahead, left / 3), 0.5)

    def _registration(self, kept: SealedAuthorization) -> Registration:
        assert kept.sealed_registration is not None
        return self._open(kept.authorization.id, "registration", kept.sealed_registration, Registration)

    def _seal(self, authorization_id: UUID, what: str, value: Contract) -> str:
        return self._sealer.seal(value.model_dump_json().encode(), upstream_purpose(authorization_id, what))

    def _open(self, authorization_id: UUID, what: str, sealed: str, kind: type[C]) -> C:
        return kind.model_validate_json(self._sealer.unseal(sealed, upstream_purpose(authorization_id, what)))

    async def _read(self, authorization_id: UUID) -> SealedAuthorization | None:
        async with self._stores.read() as rows:
            return await rows.upstream_authorizations.get(authorization_id)


def _is(kept: SealedAuthorization, state: AuthorizationState) -> bool:
    return kept.authorization.state is state


def _step(kept: SealedAuthorization | None, refresh_in: float | None = None) -> AuthorizationStep:
    if kept is None:
        return _GONE
    state = kept.authorization.state
    return AuthorizationStep(state=state, detail=kept.authorization.detail, refresh_in=refresh_in)


def _url(server: ServerConfig) -> str:
    if server.url is None:
        raise ValueError(f"server {server.name!r} has no url: only remote servers are authorized for")
    return server.url
