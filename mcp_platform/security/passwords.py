"""Passwords, hashed by argon2id with the library's current recommendation."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from mcp_platform.errors import Unavailable

T = TypeVar("T")

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")

# Each takes tens of milliseconds of several cores and 64 MiB: however many sign in at once, they
# leave half of the machine to everybody else.
_WORKERS: Final = max(1, (os.cpu_count() or 1) // 2)
_THREADS = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="passwords")
MOST_WAITING: Final = 64
"""How many may wait for a thread: some seconds' work, beyond which they would wait in vain."""


class _Queue:
    """Has passwords hashed, a few at a time, and sends away whom it cannot serve soon."""

    def __init__(self) -> None:
        self._present = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Do some work in a thread, when it is its turn."""
        if self._present >= _WORKERS + MOST_WAITING:
            raise Unavailable("Too many are signing in at this moment", part="sign-in")
        self._present += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(_THREADS, work)
        finally:
            self._present -= 1


_QUEUE = _Queue()


async def hash_password(password: str) -> str:
    """Hash a password for storing; takes tens of milliseconds, off the event loop.

    Raises:
        Unavailable: Too many wait for theirs.
    """
    return await _QUEUE.run(lambda: _HASHER.hash(password))


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the stored one; an unknown account (None) costs the same time.

    Raises:
        Unavailable: Too many wait for theirs.
    """

    def check() -> bool:
        try:
            _HASHER.verify(_NOBODY if stored is None else stored, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    return await _QUEUE.run(check)
