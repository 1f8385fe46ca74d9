"""Passwords: argon2id, and the same work for accounts that do not exist."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type
from argon2.profiles import RFC_9106_LOW_MEMORY

from mcp_platform.errors import Unavailable
from mcp_platform.security import passwords
from mcp_platform.security.passwords import hash_password, verify_password
from tests.cheap_passwords import THOROUGH, use


@pytest.fixture(autouse=True)
def thorough() -> Iterator[None]:
    """Hash as the platform does."""
    cheap = passwords._HASHER
    use(THOROUGH)
    yield
    use(cheap)


async def test_a_hash_is_argon2id_with_a_salt_and_the_recommended_cost() -> None:
    one, other = await hash_password("the same"), await hash_password("the same")
    assert one != other
    assert "the same" not in one
    cost = extract_parameters(one)
    assert cost.type is Type.ID
    assert cost.memory_cost >= RFC_9106_LOW_MEMORY.memory_cost
    assert cost.time_cost >= RFC_9106_LOW_MEMORY.time_cost


@pytest.mark.parametrize("password", ["correct horse", "", "密码 ünd \0 🐎", "x" * 10_000])
async def test_only_the_password_itself_is_right(password: str) -> None:
    stored = await hash_password(password)
    assert await verify_password(stored, password) is True
    assert await verify_password(stored, password + "x") is False


@pytest.mark.parametrize("stored", ["", "plain text", "$argon2id$broken", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_a_stored_hash_that_is_none_of_ours_lets_nobody_in(stored: str) -> None:
    assert await verify_password(stored, stored) is False
    assert await verify_password(stored, "nobody has this password") is False


async def test_however_many_are_checked_at_once_most_wait_their_turn_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present, most, threads = 0, 0, set()
    lock = threading.Lock()

    class Watched(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            nonlocal present, most
            with lock:
                present += 1
                most = max(most, present)
                threads.add(threading.get_ident())
            try:
                return super().verify(hash, password)
            finally:
                with lock:
                    present -= 1

    stored = await hash_password("right")
    monkeypatch.setattr(passwords, "_HASHER", Watched())
    outcomes = await asyncio.gather(*(verify_password(stored, "right") for _ in range(12)))
    assert outcomes == [True] * 12
    assert most <= max(1, (os.cpu_count() or 1) // 2)
    assert threading.get_ident() not in threads


async def test_whom_the_queue_cannot_serve_soon_hears_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = await hash_password("right")
    free = threading.Event()

    class Held(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            assert free.wait(30)
            return super().verify(hash, password)

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "_HASHER", Held())
        room = passwords.MOST_WAITING + max(1, (os.cpu_count() or 1) // 2)
        waiting = [asyncio.create_task(verify_password(stored, "right")) for _ in range(room)]
        try:
            await asyncio.sleep(0)
            with pytest.raises(Unavailable) as refused:
                await verify_password(stored, "right")
            with pytest.raises(Unavailable):
                await hash_password("another")
            assert refused.value.fields["part"] == "sign-in"
            # Who gives up makes room.
            waiting[-1].cancel()
            await asyncio.wait(waiting[-1:])
            waiting[-1] = asyncio.create_task(verify_password(stored, "right"))
            await asyncio.sleep(0)
            assert not waiting[-1].done()
        finally:
            for task in waiting[1:]:
                task.cancel()
            free.set()
            await asyncio.gather(*waiting, return_exceptions=True)
        assert await waiting[0] is True
    assert await verify_password(stored, "right") is True


async def test_an_unknown_account_costs_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []

    class Counting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
            checked.append(str(hash))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    assert await verify_password(await hash_password("right"), "wrong") is False
    assert await verify_password(None, "wrong") is False
    # Not even the password that the stand-in was made of.
    assert await verify_password(None, "nobody has this password") is False
    assert len(checked) == 3
    known, unknown, _ = (extract_parameters(stored) for stored in checked)
    assert known == unknown
