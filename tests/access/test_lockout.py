"""Guessing passwords: it gets slower with each failure, and tells nothing about who exists."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete, select, update

from api.v1.access import accounts
from mcp_platform.security import passwords
from storage.sql.tables import SignInFailureRow
from tests.access.people import person, try_to_sign_in
from tests.platform import PASSWORD, RunningPlatform

pytestmark = pytest.mark.usefixtures("strict", "stopped_clock")


def origin() -> dict[str, str]:
    """Give headers with an address that nobody else has."""
    number = uuid4().int
    return {"X-Forwarded-For": f"10.{number % 256}.{number // 256 % 256}.{number // 65536 % 256}"}


async def let_the_delay_pass(platform: RunningPlatform, subject: str) -> None:
    """Do what time would do."""
    async with platform.parts.stores.database.write() as session:
        row = update(SignInFailureRow).where(SignInFailureRow.subject == subject)
        await session.execute(row.values(locked_until=None))


async def fail(platform: RunningPlatform, name: str, times: int) -> list[int]:
    """Guess wrong, each time from another address; the statuses."""
    caller = platform.caller()
    return [
        (await try_to_sign_in(caller, name, "not the password", origin())).status_code for _ in range(times)
    ]


def said(answer: Any) -> dict[str, Any]:
    """Give what an answer says, without what differs from request to request."""
    body: dict[str, Any] = answer.json()
    return {name: value for name, value in body.items() if name != "request_id"}


async def test_after_three_failures_even_the_right_password_has_to_wait(strict: RunningPlatform) -> None:
    one = await person(strict)
    assert await fail(strict, one.username, 3) == [401, 401, 401]
    right = await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())
    assert right.status_code == 429
    assert right.json()["error_code"] == "RATE_LIMIT_EXCEEDED"
    assert right.json()["retry_after"] == 1
    assert right.headers["Retry-After"] == "1"
    # Whoever is signed in stays so.
    assert (await one.caller.get("/api/v1/auth/me")).status_code == 200


async def test_a_name_that_nobody_has_is_answered_in_the_same_way(strict: RunningPlatform) -> None:
    one = await person(strict)
    nobody = f"nobody-{uuid4().hex[:8]}"
    answers: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for name in (one.username, nobody):
        caller = strict.caller()
        tries = [await try_to_sign_in(caller, name, "not the password", origin()) for _ in range(4)]
        answers[name] = [(answer.status_code, said(answer)) for answer in tries]
    assert answers[one.username] == answers[nobody]
    assert [status for status, _ in answers[nobody]] == [401, 401, 401, 429]


async def test_the_name_counts_in_whatever_case(strict: RunningPlatform) -> None:
    one = await person(strict)
    await fail(strict, one.username.upper(), 3)
    answer = await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())
    assert answer.status_code == 429


async def test_the_delay_doubles_with_each_failure(strict: RunningPlatform) -> None:
    one = await person(strict)
    await fail(strict, one.username, 3)
    waits = []
    for _ in range(4):
        answer = await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())
        waits.append(answer.json()["retry_after"])
        await let_the_delay_pass(strict, f"account:{one.id}")
        assert await fail(strict, one.username, 1) == [401]
    assert waits == [1, 2, 4, 8]


async def test_an_attempt_that_has_to_wait_does_not_count(strict: RunningPlatform) -> None:
    one = await person(strict)
    assert await fail(strict, one.username, 10) == [401] * 3 + [429] * 7
    async with strict.parts.stores.database.read() as session:
        row = select(SignInFailureRow.failures)
        counted = await session.scalar(row.where(SignInFailureRow.subject == f"account:{one.id}"))
    assert counted == 3


async def test_a_success_forgets_the_failures_of_the_account(strict: RunningPlatform) -> None:
    one = await person(strict)
    assert await fail(strict, one.username, 2) == [401, 401]
    assert (await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())).status_code == 200
    assert await fail(strict, one.username, 3) == [401, 401, 401]


async def test_another_name_does_not_begin_anew(strict: RunningPlatform) -> None:
    one = await person(strict)
    assert await fail(strict, one.username, 3) == [401] * 3
    name = f"new-{one.username}"
    assert (await one.caller.patch("/api/v1/auth/me", json={"username": name})).status_code == 200
    assert (await try_to_sign_in(strict.caller(), name, PASSWORD, origin())).status_code == 429


async def test_ipv6_addresses_of_one_network_count_together(strict: RunningPlatform) -> None:
    network = f"2001:db8:{uuid4().int % 65536:x}:{uuid4().int % 65536:x}"
    caller = strict.caller()
    statuses = []
    for number in range(1, 8):
        headers = {"X-Forwarded-For": f"{network}::{number}"}
        answer = await try_to_sign_in(caller, f"n{uuid4().hex[:8]}", "not the password", headers)
        statuses.append(answer.status_code)
    assert statuses == [401] * 6 + [429]


async def test_one_address_that_tries_many_names_has_to_wait(strict: RunningPlatform) -> None:
    one = await person(strict)
    headers = origin()
    statuses = []
    for _ in range(6):
        answer = await try_to_sign_in(strict.caller(), f"n{uuid4().hex[:8]}", "not the password", headers)
        statuses.append(answer.status_code)
    assert statuses == [401] * 6
    assert (await try_to_sign_in(strict.caller(), one.username, PASSWORD, headers)).status_code == 429
    assert (await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())).status_code == 200
    # A success of its own account does not let it begin anew.
    await let_the_delay_pass(strict, f"address:{headers['X-Forwarded-For']}")
    assert (await try_to_sign_in(strict.caller(), one.username, PASSWORD, headers)).status_code == 200
    name = f"n{uuid4().hex[:8]}"
    assert (await try_to_sign_in(strict.caller(), name, "not the password", headers)).status_code == 401
    again = await try_to_sign_in(strict.caller(), one.username, PASSWORD, headers)
    assert (again.status_code, again.json()["retry_after"]) == (429, 2)


async def test_many_guesses_at_once_learn_no_more_than_one_after_the_other(strict: RunningPlatform) -> None:
    one = await person(strict)
    caller = strict.caller()
    guesses = [*("not the password" for _ in range(15)), PASSWORD]
    answers = await asyncio.gather(
        *(try_to_sign_in(caller, one.username, guess, origin()) for guess in guesses)
    )
    wrong = [answer.status_code for answer in answers[:-1]]
    assert set(wrong) == {401, 429}
    # Three are free; and three more, if the right one came in before the third.
    assert wrong.count(401) <= (3 if answers[-1].status_code == 429 else 5)


async def test_many_who_sign_in_rightly_at_once_all_come_in(strict: RunningPlatform) -> None:
    one = await person(strict)
    caller = strict.caller()
    answers = await asyncio.gather(
        *(try_to_sign_in(caller, one.username, PASSWORD, origin()) for _ in range(8))
    )
    assert [answer.status_code for answer in answers] == [200] * 8


async def test_a_wrong_current_password_counts_too(strict: RunningPlatform) -> None:
    one = await person(strict)
    order = {"current_password": "not the password", "new_password": "another good password"}
    changes = [
        await one.caller.post("/api/v1/auth/me/password", json=order, headers=origin()) for _ in range(4)
    ]
    assert [answer.status_code for answer in changes] == [403, 403, 403, 429]
    assert (await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())).status_code == 429


async def test_a_new_password_is_hashed_only_for_who_proved_the_old_one(
    strict: RunningPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await person(strict)
    hashed: list[str] = []

    async def hash_password(password: str) -> str:
        hashed.append(password)
        return await passwords.hash_password(password)

    monkeypatch.setattr(accounts, "hash_password", hash_password)
    for old, statuses in (("not the password", [403, 403, 403, 429]), (PASSWORD, [429])):
        order = {"current_password": old, "new_password": "another good password"}
        for status in statuses:
            answer = await one.caller.post("/api/v1/auth/me/password", json=order, headers=origin())
            assert answer.status_code == status
    assert hashed == []
    await let_the_delay_pass(strict, f"account:{one.id}")
    answer = await one.caller.post("/api/v1/auth/me/password", json=order, headers=origin())
    assert (answer.status_code, hashed) == (200, ["another good password"])


async def test_a_disabled_account_is_answered_like_a_wrong_password(strict: RunningPlatform) -> None:
    one = await person(strict)
    admin = await strict.admin()
    await admin.patch(f"/api/v1/users/{one.id}", json={"is_active": False})
    right = await try_to_sign_in(strict.caller(), one.username, PASSWORD, origin())
    wrong = await try_to_sign_in(strict.caller(), one.username, "not the password", origin())
    assert (right.status_code, said(right)) == (wrong.status_code, said(wrong))
    async with strict.parts.stores.database.write() as session:
        await session.execute(delete(SignInFailureRow))
