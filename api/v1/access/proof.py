"""Proving who one is, by password and second factor, with a growing delay after failures.

The verdict on an attempt is given in one transaction that holds the account's and the address's count
of failures. So of any number of guesses made at once, only as many are answered with right or wrong as
one after the other would have been; the rest hears when to try again, be they right or wrong. A name
that does not exist is counted, and takes as long, as one that does. An account's failures are counted by
its id, so that another name does not begin anew, and only a proof with all its factors forgets them.
"""

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from starlette.requests import HTTPConnection

from api.parts import Parts
from mcp_platform.client_address import address_group, client_address
from mcp_platform.contracts.access import User
from mcp_platform.errors import PlatformError, RateLimited, SecondFactorNeeded
from mcp_platform.security.passwords import verify_password
from mcp_platform.security.second_factor import recovery_code_hash, totp_purpose, totp_step
from storage.sql.access import Account, Limit
from storage.sql.engine import WriteSession
from storage.stores import Rows

T = TypeVar("T")
Action = Callable[[Rows[WriteSession], User], Awaitable[T]]

_LONGEST_NAME = 200
_SIX_DIGITS = 6
WRONG_CODE = "The code is wrong, or was used before"


@dataclass(frozen=True)
class Proof:
    """What somebody shows."""

    username: str
    password: str
    code: str | None = None
    password_only: bool = False
    """Whether the second factor is not asked for."""


async def with_proof(
    parts: Parts,
    connection: HTTPConnection,
    proof: Proof,
    refusal: Callable[[str], PlatformError],
    wrong: str,
    action: Action[T],
) -> T:
    """Do something in the transaction in which somebody proved who they are.

    Args:
        parts: The platform.
        connection: Where the attempt comes from.
        proof: What is shown.
        refusal: The error of a proof that fails.
        wrong: What the error says of a wrong password.
        action: What to do.

    Raises:
        RateLimited: After too many failures; right or wrong, this attempt does not count.
        SecondFactorNeeded: The password is right, and a code is missing.
    """
    async with parts.stores.read() as rows:
        account = await rows.users.find_by_username(proof.username)
        limits = _limits(parts, connection, proof.username, account)
        _check_waiting(await rows.failures.waiting(limits, datetime.now(UTC)))
    right = await verify_password(account.password_hash if account else None, proof.password)
    async with parts.stores.write() as rows:
        await rows.failures.lock(limits, datetime.now(UTC))
        now = datetime.now(UTC)
        _check_waiting(await rows.failures.waiting(limits, now))
        user = await _still(rows, account) if account and right else None
        problem = wrong if user is None else None
        if user is not None and not proof.password_only:
            problem = await _factor_problem(parts, rows, user.id, proof.code, now)
        if problem is None and user is not None:
            await _forget(rows, limits[0], proof, user)
            return await action(rows, user)
        await rows.failures.count(limits, now)
    raise refusal(problem or wrong)


async def code_is_right(
    parts: Parts, rows: Rows[WriteSession], user_id: UUID, code: str, now: datetime
) -> bool:
    """Use up a code of an authenticator, confirmed or not, or else a recovery code."""
    factor = await rows.factors.get(user_id)
    if factor is None:
        return False
    if len(code) != _SIX_DIGITS or not code.isdigit():
        return await rows.factors.spend_code(user_id, recovery_code_hash(code))
    secret = parts.sealer.unseal(factor.sealed_secret, totp_purpose(user_id)).decode()
    step = totp_step(secret, code, now.timestamp())
    return step is not None and await rows.factors.use_step(user_id, step)


async def _forget(rows: Rows[WriteSession], limit: Limit, proof: Proof, user: User) -> None:
    """Begin to count anew, if all was shown that there is to show."""
    if not (proof.password_only and await rows.factors.confirmed([user.id])):
        await rows.failures.forget(limit.subject)


async def _still(rows: Rows[WriteSession], seen: Account) -> User | None:
    """Give the account, unless its password changed while we looked at it, or it is disabled."""
    account = await rows.users.lock(seen.user.id)
    if account is None or account.password_hash != seen.password_hash or not account.user.is_active:
        return None
    return account.user


async def _factor_problem(
    parts: Parts, rows: Rows[WriteSession], user_id: UUID, code: str | None, now: datetime
) -> str | None:
    factor = await rows.factors.get(user_id)
    if factor is None or not factor.confirmed:
        return None
    if code is None:
        raise SecondFactorNeeded
    return None if await code_is_right(parts, rows, user_id, code.strip(), now) else WRONG_CODE


def _limits(
    parts: Parts, connection: HTTPConnection, username: str, account: Account | None
) -> tuple[Limit, Limit]:
    security = parts.settings.security
    address = client_address(connection.scope, parts.settings.api.trusted_proxies)
    who = f"account:{account.user.id}" if account else f"name:{username.strip().lower()[:_LONGEST_NAME]}"
    return (
        Limit(who, security.lockout_threshold),
        Limit(f"address:{address_group(address)}", security.lockout_address_threshold),
    )


def _check_waiting(left: timedelta | None) -> None:
    if left is not None:
        raise RateLimited(math.ceil(left.total_seconds()))
