"""Passwords that cost little to hash: the tests sign in thousands of times.

What a hash really costs is told in security/test_passwords.py, and paid by platforms that are processes.
"""

from typing import Final

from argon2 import PasswordHasher

from mcp_platform.security import passwords

THOROUGH: Final = passwords._HASHER
"""The platform's own."""


def pytest_configure() -> None:
    """Hash cheaply in this process."""
    use(PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))


def use(hasher: PasswordHasher) -> None:
    """Hash in this way from now on; what stands in for unknown accounts costs the same."""
    passwords._HASHER = hasher
    passwords._NOBODY = hasher.hash("nobody has this password")
