"""`/api/v1/auth/me/mfa`: a second factor for one's own account."""

import asyncio
from datetime import UTC, datetime

from fastapi import APIRouter, Request

from api.dependencies import PartsDep
from api.v1.access.callers import SignedIn, still
from api.v1.access.proof import WRONG_CODE, Proof, code_is_right, with_proof
from api.v1.answers import Message
from mcp_platform.contracts.access import (
    ConfirmBoth,
    ConfirmCode,
    ConfirmPassword,
    Enrolment,
    Permission,
    Principal,
    RecoveryCodes,
    User,
)
from mcp_platform.errors import Conflict, ProofFailed
from mcp_platform.security.second_factor import (
    new_recovery_codes,
    new_totp_secret,
    qr_svg,
    recovery_code_hash,
    totp_purpose,
    totp_uri,
)
from storage.sql.engine import WriteSession
from storage.stores import Rows

router = APIRouter(prefix="/auth/me/mfa", tags=["Authentication"])


@router.post("")
async def enrol(order: ConfirmPassword, caller: SignedIn, parts: PartsDep, request: Request) -> Enrolment:
    """Begin a second factor: give its secret for an authenticator. It is on once a code confirms it."""
    secret = new_totp_secret()

    async def begin(rows: Rows[WriteSession], user: User) -> User:
        factor = await rows.factors.get(user.id)
        if factor and factor.confirmed:
            raise Conflict("A second factor is on already; turn it off first", resource_type="second_factor")
        sealed = parts.sealer.seal(secret.encode(), totp_purpose(user.id))
        await rows.factors.put(user.id, sealed)
        return user

    proof = Proof(caller.username, order.password.get_secret_value(), password_only=True)
    user = await with_proof(parts, request, proof, ProofFailed, "The password is wrong", begin)
    uri = totp_uri(secret, user.username)
    return Enrolment(secret=secret, otpauth_uri=uri, qr_svg=await asyncio.to_thread(qr_svg, uri))


@router.post("/confirm")
async def confirm(order: ConfirmCode, caller: SignedIn, parts: PartsDep) -> RecoveryCodes:
    """Turn the second factor on by a code from the authenticator; answers with ten recovery codes, once."""
    codes = new_recovery_codes()
    async with parts.stores.write() as rows:
        await still(rows, caller, Permission.ACCOUNT)
        factor = await rows.factors.get(caller.user_id)
        if factor is None or factor.confirmed:
            raise Conflict(
                "There is no second factor to confirm; begin one with POST /api/v1/auth/me/mfa",
                resource_type="second_factor",
            )
        code = order.code.get_secret_value().strip()
        if not await code_is_right(parts, rows, caller.user_id, code, datetime.now(UTC)):
            raise ProofFailed(WRONG_CODE)
        await rows.factors.confirm(caller.user_id)
        await rows.factors.replace_codes(caller.user_id, [recovery_code_hash(code) for code in codes])
    return RecoveryCodes(recovery_codes=codes)


@router.post("/recovery-codes")
async def renew_recovery_codes(
    order: ConfirmBoth, caller: SignedIn, parts: PartsDep, request: Request
) -> RecoveryCodes:
    """Make ten new recovery codes; the old ones hold no longer."""
    codes = new_recovery_codes()

    async def replace(rows: Rows[WriteSession], user: User) -> None:
        await _check_on(rows, user)
        await rows.factors.replace_codes(user.id, [recovery_code_hash(code) for code in codes])

    await with_proof(parts, request, _proof(caller, order), ProofFailed, "The password is wrong", replace)
    return RecoveryCodes(recovery_codes=codes)


@router.delete("")
async def turn_off(order: ConfirmBoth, caller: SignedIn, parts: PartsDep, request: Request) -> Message:
    """Turn the second factor off, by the password and a code or a recovery code."""

    async def remove(rows: Rows[WriteSession], user: User) -> None:
        await _check_on(rows, user)
        await rows.factors.remove(user.id)

    await with_proof(parts, request, _proof(caller, order), ProofFailed, "The password is wrong", remove)
    return Message(message="The second factor is off")


def _proof(caller: Principal, order: ConfirmBoth) -> Proof:
    return Proof(caller.username, order.password.get_secret_value(), order.code.get_secret_value())


async def _check_on(rows: Rows[WriteSession], user: User) -> None:
    if not await rows.factors.confirmed([user.id]):
        raise Conflict("No second factor is on", resource_type="second_factor")
