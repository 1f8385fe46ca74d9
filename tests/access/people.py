"""Accounts that the tests of this room make, and what they do."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx

from tests.platform import PASSWORD, Caller, RunningPlatform


def account(**changes: object) -> dict[str, object]:
    """Give a body for `/auth/register`."""
    name = f"user-{uuid4().hex[:8]}"
    return {
        "username": name,
        "email": f"{name}@example.com",
        "password": PASSWORD,
        "role": "developer",
        **changes,
    }


@dataclass
class Person:
    """An account, and a client that is signed in to it."""

    id: str
    username: str
    caller: Caller
    pair: dict[str, Any]

    async def sign_in_elsewhere(self, platform: RunningPlatform, password: str = PASSWORD) -> Caller:
        """Begin one more session."""
        caller = platform.caller()
        await caller.sign_in(self.username, password)
        return caller


async def person(platform: RunningPlatform, **changes: object) -> Person:
    """Make an account, and sign in."""
    caller = platform.caller()
    order = account(**changes)
    answer = await caller.post("/api/v1/auth/register", json=order)
    assert answer.status_code == 201, answer.text
    name = str(order["username"])
    return Person(answer.json()["id"], name, caller, await caller.sign_in(name, str(order["password"])))


async def try_to_sign_in(
    caller: Caller,
    username: str,
    password: str = PASSWORD,
    headers: dict[str, str] | None = None,
    **more: str,
) -> httpx.Response:
    """Attempt to sign in, without sending the token from now on."""
    order = {"username": username, "password": password, **more}
    return await caller.post("/api/v1/auth/login", json=order, headers=headers)


async def appoint(platform: RunningPlatform, person: Person, role: str) -> None:
    """Give somebody another role."""
    admin = await platform.admin()
    answer = await admin.patch(f"/api/v1/users/{person.id}", json={"role": role})
    assert answer.status_code == 200, answer.text


async def new_key(caller: Caller, **order: object) -> dict[str, Any]:
    """Make an API key."""
    answer = await caller.post("/api/v1/auth/api-keys", json={"name": "test", **order})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


def with_key(platform: RunningPlatform, key: str) -> Caller:
    """Give a client that sends this key."""
    caller = platform.caller()
    caller.headers["X-API-Key"] = key
    return caller
