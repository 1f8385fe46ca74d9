"""Second factors: enrolled with a QR code, asked for at sign-in, each code good once."""

import asyncio
import time
from dataclasses import dataclass
from xml.etree import ElementTree

import pyotp
import pytest
from sqlalchemy import select

from storage.sql.tables import RecoveryCodeRow, SecondFactorRow
from tests.access.people import Person, appoint, new_key, person, try_to_sign_in, with_key
from tests.access.test_lockout import let_the_delay_pass, origin
from tests.platform import PASSWORD, Caller, RunningPlatform

STEP = 30


@dataclass
class Secured:
    """An account whose second factor is on."""

    person: Person
    secret: str
    recovery_codes: list[str]
    confirmed_by: str = ""
    """The code that turned it on."""

    def code(self, later: int = 0) -> str:
        """Give the code of this moment, or of some steps later."""
        return pyotp.TOTP(self.secret).generate_otp(int(time.time()) // STEP + later)

    def wrong_code(self) -> str:
        """Give six digits that are no code of these minutes."""
        near = {self.code(later) for later in range(-10, 10)}
        return next(digits for digits in (f"{number:06}" for number in range(100)) if digits not in near)


async def secured(platform: RunningPlatform) -> Secured:
    """Make an account with a second factor."""
    one = await person(platform)
    begun = await one.caller.post("/api/v1/auth/me/mfa", json={"password": PASSWORD})
    assert begun.status_code == 200, begun.text
    secret = begun.json()["secret"]
    code = pyotp.TOTP(secret).now()
    answer = await one.caller.post("/api/v1/auth/me/mfa/confirm", json={"code": code})
    assert answer.status_code == 200, answer.text
    return Secured(one, secret, answer.json()["recovery_codes"], confirmed_by=code)


async def turn_off(caller: Caller, code: str, password: str = PASSWORD) -> int:
    """Turn a second factor off; the status."""
    body = {"password": password, "code": code}
    return (await caller.request("DELETE", "/api/v1/auth/me/mfa", json=body)).status_code


async def test_enrolling_shows_a_secret_as_text_address_and_picture(platform: RunningPlatform) -> None:
    one = await person(platform)
    answer = await one.caller.post("/api/v1/auth/me/mfa", json={"password": PASSWORD})
    found = answer.json()
    parsed = pyotp.parse_uri(found["otpauth_uri"])
    assert isinstance(parsed, pyotp.TOTP)
    assert (parsed.secret, parsed.name) == (found["secret"], one.username)
    assert ElementTree.fromstring(found["qr_svg"]).tag.endswith("svg")
    # It is not on before a code confirms it.
    assert (await one.caller.get("/api/v1/auth/me")).json()["mfa_enabled"] is False
    assert (await try_to_sign_in(platform.caller(), one.username)).status_code == 200


async def test_enrolling_needs_the_password_and_confirming_a_right_code(platform: RunningPlatform) -> None:
    one = await person(platform)
    wrong = await one.caller.post("/api/v1/auth/me/mfa", json={"password": "not the password"})
    assert (wrong.status_code, wrong.json()["error_code"]) == (403, "PROOF_FAILED")
    early = await one.caller.post("/api/v1/auth/me/mfa/confirm", json={"code": "123456"})
    assert early.status_code == 409
    secret = (await one.caller.post("/api/v1/auth/me/mfa", json={"password": PASSWORD})).json()["secret"]
    other = Secured(one, secret, []).wrong_code()
    refused = await one.caller.post("/api/v1/auth/me/mfa/confirm", json={"code": other})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PROOF_FAILED")
    assert (await one.caller.get("/api/v1/auth/me")).json()["mfa_enabled"] is False


async def test_signing_in_asks_for_a_code_only_after_the_right_password(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    name, caller = mine.person.username, platform.caller()
    wrong = await try_to_sign_in(caller, name, "not the password")
    assert (wrong.status_code, wrong.json()["error_code"]) == (401, "UNAUTHORIZED")
    asked = await try_to_sign_in(caller, name)
    assert (asked.status_code, asked.json()["error_code"]) == (401, "MFA_REQUIRED")
    refused = await try_to_sign_in(caller, name, code=mine.wrong_code())
    assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHORIZED")
    guessed = await try_to_sign_in(caller, name, "not the password", code=mine.code(later=1))
    assert guessed.status_code == 401
    assert (await try_to_sign_in(caller, name, code=mine.code(later=1))).status_code == 200
    assert (await mine.person.caller.get("/api/v1/auth/me")).json()["mfa_enabled"] is True


async def test_the_form_takes_the_code_in_a_field_of_its_own(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    form = {"username": mine.person.username, "password": PASSWORD}
    asked = await platform.caller().post("/api/v1/auth/token", data=form)
    assert asked.json()["error_code"] == "MFA_REQUIRED"
    answer = await platform.caller().post("/api/v1/auth/token", data={**form, "code": mine.code(later=1)})
    assert answer.status_code == 200


async def test_a_code_works_once_and_none_before_it_afterwards(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    name, caller = mine.person.username, platform.caller()
    # Not the one of this moment: that may be a new one by now.
    assert (await try_to_sign_in(caller, name, code=mine.confirmed_by)).status_code == 401
    newest = mine.code(later=1)
    assert (await try_to_sign_in(caller, name, code=newest)).status_code == 200
    assert (await try_to_sign_in(caller, name, code=newest)).status_code == 401
    assert (await try_to_sign_in(caller, name, code=mine.code())).status_code == 401


async def test_of_many_who_use_one_code_at_once_one_comes_in(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    caller, code = platform.caller(), mine.code(later=1)
    answers = await asyncio.gather(
        *(try_to_sign_in(caller, mine.person.username, code=code) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_a_recovery_code_stands_in_once_however_it_is_typed(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    name, caller = mine.person.username, platform.caller()
    assert len(set(mine.recovery_codes)) == 10
    first = mine.recovery_codes[0]
    typed = f" {first.upper().replace('-', ' ')} "
    assert (await try_to_sign_in(caller, name, code=typed)).status_code == 200
    assert (await try_to_sign_in(caller, name, code=first)).status_code == 401
    assert (await try_to_sign_in(caller, name, code=mine.recovery_codes[1])).status_code == 200


async def test_new_recovery_codes_replace_the_old_ones(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    order = {"password": PASSWORD, "code": mine.recovery_codes[0]}
    answer = await mine.person.caller.post("/api/v1/auth/me/mfa/recovery-codes", json=order)
    assert answer.status_code == 200
    name, caller = mine.person.username, platform.caller()
    assert (await try_to_sign_in(caller, name, code=mine.recovery_codes[1])).status_code == 401
    fresh = answer.json()["recovery_codes"][1]
    assert (await try_to_sign_in(caller, name, code=fresh)).status_code == 200


async def test_turning_it_off_needs_the_password_and_a_code(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    caller = mine.person.caller
    assert await turn_off(caller, mine.recovery_codes[0], "not the password") == 403
    assert await turn_off(caller, mine.wrong_code()) == 403
    again = await caller.post("/api/v1/auth/me/mfa", json={"password": PASSWORD})
    assert again.status_code == 409
    assert await turn_off(caller, mine.code(later=1)) == 200
    assert await turn_off(caller, mine.recovery_codes[1]) == 409
    assert (await try_to_sign_in(platform.caller(), mine.person.username)).status_code == 200


async def test_an_administrator_helps_whoever_lost_it(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    other = await person(platform)
    path = f"/api/v1/users/{mine.person.id}/mfa"
    assert (await other.caller.delete(path)).status_code == 403
    admin = await platform.admin()
    assert (await admin.get(f"/api/v1/users/{mine.person.id}")).json()["mfa_enabled"] is True
    assert (await admin.delete(path)).status_code == 200
    assert (await admin.delete(path)).status_code == 404
    assert (await try_to_sign_in(platform.caller(), mine.person.username)).status_code == 200


@pytest.mark.usefixtures("stopped_clock")
async def test_wrong_codes_count_as_failures(strict: RunningPlatform) -> None:
    mine = await secured(strict)
    name, caller = mine.person.username, strict.caller()
    wrong = mine.wrong_code()
    tries = [await try_to_sign_in(caller, name, PASSWORD, origin(), code=wrong) for _ in range(4)]
    assert [answer.status_code for answer in tries] == [401, 401, 401, 429]
    right = await try_to_sign_in(caller, name, PASSWORD, origin(), code=mine.code(later=1))
    assert right.status_code == 429
    await let_the_delay_pass(strict, f"account:{mine.person.id}")
    # Being asked for the code is neither a failure nor a success.
    assert (await try_to_sign_in(caller, name, PASSWORD, origin())).status_code == 401
    assert (await try_to_sign_in(caller, name, PASSWORD, origin(), code=wrong)).status_code == 401
    again = await try_to_sign_in(caller, name, PASSWORD, origin(), code=wrong)
    assert (again.status_code, again.json()["retry_after"]) == (429, 2)


@pytest.mark.usefixtures("stopped_clock")
async def test_the_password_alone_forgets_no_wrong_codes(strict: RunningPlatform) -> None:
    mine = await secured(strict)
    name, caller = mine.person.username, strict.caller()
    for _ in range(2):
        answer = await try_to_sign_in(caller, name, PASSWORD, origin(), code=mine.wrong_code())
        assert answer.status_code == 401
    order = {"current_password": PASSWORD, "new_password": PASSWORD}
    changed = await mine.person.caller.post("/api/v1/auth/me/password", json=order, headers=origin())
    assert changed.status_code == 200, changed.text
    tries = [await try_to_sign_in(caller, name, PASSWORD, origin(), code=mine.wrong_code()) for _ in range(2)]
    assert [answer.status_code for answer in tries] == [401, 429]


async def test_administrators_turn_their_own_factor_off_as_everybody_does(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    await appoint(platform, mine.person, "admin")
    key = with_key(platform, (await new_key(mine.person.caller))["key"])
    for caller in (mine.person.caller, key):
        answer = await caller.delete(f"/api/v1/users/{mine.person.id}/mfa")
        assert answer.status_code == 403
        assert "/api/v1/auth/me/mfa" in answer.json()["detail"]
    assert (await mine.person.caller.get("/api/v1/auth/me")).json()["mfa_enabled"] is True
    await appoint(platform, mine.person, "developer")


async def test_neither_the_secret_nor_a_recovery_code_is_stored_as_it_is(platform: RunningPlatform) -> None:
    mine = await secured(platform)
    async with platform.parts.stores.database.read() as session:
        sealed = list(await session.scalars(select(SecondFactorRow.sealed_secret)))
        hashes = list(await session.scalars(select(RecoveryCodeRow.code_hash)))
    assert len(hashes) >= 10
    assert not [one for one in sealed if mine.secret in one]
    plain = {code.replace("-", "") for code in mine.recovery_codes}
    assert not [one for one in hashes if one in plain or one in mine.recovery_codes]
