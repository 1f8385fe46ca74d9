"""`/api/v1/auth`: accounts, sessions and API keys."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, status

from api.dependencies import PartsDep, Requires, public
from api.v1.answers import Deleted
from mcp_platform.contracts.access import (
    ApiKey,
    CreateApiKey,
    Login,
    NewApiKey,
    Permission,
    Principal,
    Refresh,
    RegisterUser,
    Role,
    TokenPair,
    User,
)
from mcp_platform.errors import Forbidden, NotFound, Unauthorized, ValidationFailed
from mcp_platform.names import Channel
from mcp_platform.security.api_keys import api_key_hash, api_key_label, new_api_key
from mcp_platform.security.passwords import hash_password, verify_password
from storage.sql.access import Spending

router = APIRouter(prefix="/auth", tags=["Authentication"])

Owner = Annotated[Principal, Depends(Requires(Permission.ACCOUNT))]


@router.post("/register", status_code=status.HTTP_201_CREATED, dependencies=[Depends(public)])
async def register(order: RegisterUser, parts: PartsDep) -> User:
    """Open an account; nobody can make themselves an administrator."""
    if order.role is Role.ADMIN:
        raise Forbidden(
            Permission.USERS_APPOINT,
            "Nobody can register as an administrator; register as developer or viewer",
        )
    if not parts.settings.api.registration:
        raise Forbidden(Permission.USERS_APPOINT, "Registration is closed; ask an administrator")
    user = User(
        id=uuid4(),
        username=order.username,
        email=order.email,
        role=order.role,
        is_active=True,
        created_at=datetime.now(UTC),
    )
    password_hash = await hash_password(order.password.get_secret_value())
    async with parts.stores.write() as rows:
        await rows.users.add(user, password_hash)
    return user


@router.post("/login", dependencies=[Depends(public)])
async def login(order: Login, parts: PartsDep) -> TokenPair:
    """Sign in; an unknown name and a wrong password are answered alike, and take as long."""
    async with parts.stores.read() as rows:
        account = await rows.users.find_by_username(order.username)
    stored = account.password_hash if account else None
    right = await verify_password(stored, order.password.get_secret_value())
    if account is None or not right or not account.user.is_active:
        raise Unauthorized("Wrong username or password")
    refresh_token, claims = parts.tokens.issue_refresh(account.user.id)
    async with parts.stores.write() as rows:
        await rows.refresh_tokens.add(claims)
    return TokenPair(
        access_token=parts.tokens.issue_access(account.user, claims.family_id),
        refresh_token=refresh_token,
        expires_in=parts.tokens.access_ttl,
    )


@router.post("/refresh", dependencies=[Depends(public)])
async def refresh(order: Refresh, parts: PartsDep) -> TokenPair:
    """Trade a refresh token for a new pair; one that is used twice ends the whole session."""
    old = parts.tokens.read_refresh(order.refresh_token.get_secret_value())
    async with parts.stores.write() as rows:
        spending = await rows.refresh_tokens.spend(old.token_id)
        user = await rows.users.get(old.user_id) if spending is Spending.SPENT else None
        if user and user.is_active:
            refresh_token, claims = parts.tokens.issue_refresh(user.id, old.family_id)
            await rows.refresh_tokens.add(claims)
    if user is None or not user.is_active:
        raise Unauthorized
    return TokenPair(
        access_token=parts.tokens.issue_access(user, old.family_id),
        refresh_token=refresh_token,
        expires_in=parts.tokens.access_ttl,
    )


@router.post("/api-keys", status_code=status.HTTP_201_CREATED)
async def create_api_key(order: CreateApiKey, caller: Owner, parts: PartsDep) -> NewApiKey:
    """Make an API key with the caller's own permissions; this answer is the only one that shows it."""
    now = datetime.now(UTC)
    if order.expires_at and order.expires_at <= now:
        raise ValidationFailed.at(("body", "expires_at"), "must lie in the future")
    key = new_api_key()
    entry = ApiKey(
        id=uuid4(), name=order.name, prefix=api_key_label(key), created_at=now, expires_at=order.expires_at
    )
    async with parts.stores.write() as rows:
        await rows.api_keys.add(entry, caller.user_id, api_key_hash(key))
    return NewApiKey(
        id=entry.id, name=entry.name, key=key, created_at=entry.created_at, expires_at=entry.expires_at
    )


@router.get("/api-keys")
async def list_api_keys(caller: Owner, parts: PartsDep) -> list[ApiKey]:
    """List the caller's own keys, by their first characters."""
    async with parts.stores.read() as rows:
        return await rows.api_keys.list(caller.user_id)


@router.delete("/api-keys/{key_id}")
async def revoke_api_key(key_id: UUID, caller: Owner, parts: PartsDep) -> Deleted:
    """End a key at once, everywhere."""
    async with parts.stores.write() as rows:
        if not await rows.api_keys.revoke(key_id, caller.user_id):
            raise NotFound("api_key", key_id)
    await parts.stores.publish(Channel.CREDENTIALS, {"api_key_id": str(key_id)})
    return Deleted(message="API key revoked successfully", id=key_id)
