"""`/api/v1/auth/api-keys`: credentials for programs."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from fastapi import APIRouter, status

from api.dependencies import PartsDep
from api.v1.access.callers import Owner, key_of, still
from api.v1.answers import Deleted
from mcp_platform.contracts.access import ApiKey, CreateApiKey, NewApiKey, Permission, Principal
from mcp_platform.errors import Conflict, Forbidden, NotFound, Unauthorized, ValidationFailed
from mcp_platform.security.api_keys import api_key_hash, api_key_label, new_api_key
from mcp_platform.security.permissions import SCOPES, within_scopes
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/auth/api-keys", tags=["Authentication"])

_EVERYTHING = frozenset(Permission)
_MOST_KEYS = 100


@router.post("", status_code=status.HTTP_201_CREATED, response_model_exclude_unset=True)
async def create_api_key(order: CreateApiKey, caller: Owner, parts: PartsDep) -> NewApiKey:
    """Make an API key; this answer is the only one that shows it.

    It may do what its owner may, within `scopes`: `READ`, `WRITE`, `ADMIN` or single permissions. With
    `mcp_ids` it is good for these MCPs alone. A key that makes a key passes its own bounds on. 409 when the
    account has 100 keys that hold.
    """
    now = datetime.now(UTC)
    _check(order, now)
    key = new_api_key()
    async with parts.stores.write() as rows:
        await still(rows, caller, Permission.ACCOUNT)
        await _check_room(rows, caller, now)
        bounds = await _bounds(rows, order, caller, now)
        unknown = await rows.api_keys.unknown_mcps(bounds.mcp_ids or [])
        if unknown:
            raise NotFound("mcp_tool", min(unknown))
        entry = ApiKey(
            id=uuid4(),
            name=order.name,
            prefix=api_key_label(key),
            created_at=now,
            expires_at=bounds.expires_at,
            scopes=bounds.scopes,
            mcp_ids=bounds.mcp_ids,
        )
        await rows.api_keys.add(entry, caller.user_id, api_key_hash(key))
    said = entry.model_dump(include={"id", "name", "created_at", "expires_at"})
    limits = entry.model_dump(include={"scopes", "mcp_ids"}, exclude_none=True)
    return NewApiKey(key=key, **said, **limits)


@router.get("")
async def list_api_keys(caller: Owner, parts: PartsDep) -> list[ApiKey]:
    """List the caller's own keys, by their first characters; `last_used_at` lags by up to half a minute."""
    async with parts.stores.read() as rows:
        return await rows.api_keys.list(caller.user_id)


@router.delete("/{key_id}")
async def revoke_api_key(key_id: UUID, caller: Owner, parts: PartsDep) -> Deleted:
    """End a key at once, everywhere."""
    async with parts.stores.write() as rows:
        await still(rows, caller, Permission.ACCOUNT)
        if not await rows.api_keys.revoke(key_id, caller.user_id):
            raise NotFound("api_key", key_id)
    await parts.credentials.changed(caller.user_id)
    return Deleted(message="API key revoked successfully", id=key_id)


def _check(order: CreateApiKey, now: datetime) -> None:
    if order.expires_at and order.expires_at <= now:
        raise ValidationFailed.at(("body", "expires_at"), "must lie in the future")
    unknown = [scope for scope in order.scopes or [] if scope not in SCOPES]
    if unknown:
        raise ValidationFailed.at(
            ("body", "scopes"), f"there are no scopes {', '.join(unknown)}; there are: {', '.join(SCOPES)}"
        )


async def _check_room(rows: Rows[WriteSession], caller: Principal, now: datetime) -> None:
    """Keep an account, which is locked, from having more keys than anybody can oversee."""
    if await rows.api_keys.count_living(caller.user_id, now) >= _MOST_KEYS:
        raise Conflict(
            f"This account has {_MOST_KEYS} API keys, and cannot have more: revoke one that is not needed",
            resource_type="api_key",
        )


async def _bounds(
    rows: Rows[WriteSession], order: CreateApiKey, caller: Principal, now: datetime
) -> CreateApiKey:
    """Give the order with the bounds of the key that makes it, if a key makes it.

    Raises:
        Forbidden: The new key would be good for more than the one that makes it.
    """
    maker_id = key_of(caller)
    if maker_id is None:
        return order
    maker = await rows.api_keys.living(maker_id, now)
    if maker is None:
        raise Unauthorized
    bounds: dict[str, Any] = {
        "scopes": maker.scopes if order.scopes is None else order.scopes,
        "mcp_ids": maker.mcp_ids if order.mcp_ids is None else order.mcp_ids,
        "expires_at": order.expires_at or maker.expires_at,
    }
    allowed = within_scopes(_EVERYTHING, maker.scopes)
    if not within_scopes(_EVERYTHING, bounds["scopes"]) <= allowed:
        raise _too_much("may do")
    if maker.mcp_ids is not None and not set(bounds["mcp_ids"]) <= set(maker.mcp_ids):
        raise _too_much("may use")
    if maker.expires_at is not None and bounds["expires_at"] > maker.expires_at:
        raise _too_much("lives")
    return order.model_copy(update=bounds)


def _too_much(what: str) -> Forbidden:
    return Forbidden(
        Permission.ACCOUNT, f"The new key {what} more than the key that makes it: sign in to make such a key"
    )
