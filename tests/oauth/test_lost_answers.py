"""Tokens that a remote server gives once are kept, although the worker that asked for them is ended."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from activities.authorizations import AuthorizationActivities
from mcp_platform.contracts.base import Contract
from mcp_platform.contracts.oauth import (
    AuthorizationState,
    IssuedTokens,
    PendingCode,
    Registration,
    SealedAuthorization,
    UpstreamAuthorization,
    UpstreamTokens,
)
from tests.waiting import PATIENCE

KNOWN = Registration(
    client_id="us",
    authorization_endpoint="https://remote.example.com/authorize",
    token_endpoint="https://remote.example.com/token",
    issuer="https://remote.example.com",
    resource="https://remote.example.com/mcp",
)
FORMER = UpstreamTokens(access_token="a-1", refresh_token="r-1")
NEXT = UpstreamTokens(access_token="a-2", refresh_token="r-2")


class Plain:
    """Seals nothing."""

    def seal(self, text: bytes, purpose: str) -> str:
        return text.decode()

    def unseal(self, sealed: str, purpose: str) -> bytes:
        return sealed.encode()


class Remote:
    """A server that gives each token once, and takes its time over it."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    def endpoint(self, known: Registration) -> "Remote":
        return self

    async def refresh(self, token: str) -> IssuedTokens:
        assert token == FORMER.refresh_token
        return await self.exchange()

    async def exchange(self, *_: str) -> IssuedTokens:
        self.asked.set()
        await self.answers.wait()
        return IssuedTokens(tokens=NEXT, expires_in=None, scope=None)


class Kept:
    """The stores, as far as one authorization needs them."""

    def __init__(self, authorization: SealedAuthorization) -> None:
        self.authorization = authorization
        self.upstream_authorizations = self

    @asynccontextmanager
    async def read(self) -> AsyncIterator["Kept"]:
        yield self

    write = read

    async def get(self, _: UUID) -> SealedAuthorization:
        return self.authorization

    async def change(self, _id: UUID, _from: Any, _now: datetime, **values: Any) -> bool:
        sealed = {name: values.pop(name) for name in list(values) if name.startswith("sealed_")}
        authorization = self.authorization.authorization.model_copy(update=values)
        self.authorization = self.authorization.model_copy(update=sealed | {"authorization": authorization})
        return True

    async def supersede(self, *_: Any) -> list[UUID]:
        return []

    async def publish(self, *_: Any) -> None:
        return None

    async def append(self, _: Any) -> None:
        return None


def sealed(state: AuthorizationState, **kept: Contract) -> SealedAuthorization:
    """Give an authorization with what is kept of it."""
    now = datetime.now(UTC)
    authorization = UpstreamAuthorization(
        id=uuid4(),
        mcp_id=uuid4(),
        server="remote",
        user_id=None,
        state=state,
        created_by=uuid4(),
        created_at=now,
        updated_at=now,
    )
    texts = {name: each.model_dump_json() for name, each in kept.items()}
    return SealedAuthorization(authorization=authorization, **texts)


@pytest.mark.parametrize("step", ["refresh", "exchange"])
async def test_tokens_that_are_given_once_outlive_the_worker_that_asked_for_them(step: str) -> None:
    code = PendingCode(code="c-1", verifier="v")
    kept: Any = Kept(
        sealed(AuthorizationState.ACTIVE, sealed_registration=KNOWN, sealed_tokens=FORMER)
        if step == "refresh"
        else sealed(AuthorizationState.PENDING, sealed_registration=KNOWN, sealed_code=code)
    )
    remote: Any = Remote()
    plain: Any = Plain()
    settings: Any = type("Settings", (), {"issuer": "https://platform.example.com"})
    activities = AuthorizationActivities(kept, plain, plain, remote, kept, settings)
    asking = asyncio.create_task(getattr(activities, step)(kept.authorization.authorization.id))
    await asyncio.wait_for(remote.asked.wait(), PATIENCE)
    asking.cancel()
    await asyncio.sleep(0)
    remote.answers.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert UpstreamTokens.model_validate_json(kept.authorization.sealed_tokens or "null") == NEXT
    assert kept.authorization.authorization.state is AuthorizationState.ACTIVE
