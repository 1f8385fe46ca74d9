"""Passwords, hashed by argon2id with the library's current recommendation."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody has this password")

# Each takes tens of milliseconds of several cores and 64 MiB: however many sign in at once, they
# leave half of the machine to everybody else.
_THREADS = ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 1) // 2), thread_name_prefix="passwords")


async def hash_password(password: str) -> str:
    """Hash a password for storing; takes tens of milliseconds, off the event loop."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _HASHER.hash, password)


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether the password is the stored one; an unknown account (None) costs the same time."""

    def check() -> bool:
        try:
            _HASHER.verify(_NOBODY if stored is None else stored, password)
        except (VerificationError, InvalidHashError):
            return False
        return stored is not None

    return await asyncio.get_running_loop().run_in_executor(_THREADS, check)
