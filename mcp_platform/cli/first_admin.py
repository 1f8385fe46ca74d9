"""The first administrator, made when there is no account yet."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from pydantic import ValidationError

from mcp_platform.cli.data_dir import PASSWORD_FILE
from mcp_platform.cli.failure import Failure
from mcp_platform.contracts.access import RegisterUser, Role, User
from mcp_platform.errors import Conflict
from mcp_platform.security.keys import write_secret_file
from mcp_platform.security.password_rules import password_problem
from mcp_platform.security.passwords import hash_password
from mcp_platform.settings import Settings
from storage.stores import Stores


@dataclass(frozen=True)
class FirstAdmin:
    """Who was made; the password only where the platform chose it."""

    username: str
    chosen_password: str | None


async def ensure_admin(settings: Settings, stores: Stores, *, choose_password: bool) -> FirstAdmin | None:
    """Make an administrator if there is no account at all; None if there is one.

    A chosen password is kept in a file that only its owner can read, and written there before the
    account exists: a crash in between cannot leave an account that nobody can enter.

    Raises:
        Failure: There is no account, and no password to make one with, or one that does not do.
    """
    async with stores.read() as rows:
        if await rows.users.count():
            return None
    chosen = None
    if settings.admin.password:
        password = settings.admin.password.get_secret_value()
    elif choose_password:
        password = chosen = _kept_password(settings.data_dir / PASSWORD_FILE)
    else:
        raise Failure(
            "there is no account yet: set MCP_PLATFORM_ADMIN__PASSWORD (12 characters or more)"
            " for the first administrator"
        )
    user = await _new_admin(settings, password)
    try:
        async with stores.write() as rows:
            await rows.users.add(user, await hash_password(password))
    except Conflict:
        # Another process was setting up at the same time.
        return None
    return FirstAdmin(user.username, chosen)


def _kept_password(path: Path) -> str:
    if not path.exists():
        write_secret_file(path, secrets.token_urlsafe(18) + "\n")
    return path.read_text().strip()


async def _new_admin(settings: Settings, password: str) -> User:
    try:
        order = RegisterUser.model_validate(
            {
                "username": settings.admin.username,
                "email": settings.admin.email,
                "password": password,
                "role": Role.ADMIN,
            }
        )
    except ValidationError as error:
        problems = "; ".join(f"{item['loc'][0]}: {item['msg']}" for item in error.errors())
        raise Failure(f"the first administrator (MCP_PLATFORM_ADMIN__…) cannot be made: {problems}") from None
    problem = password_problem(password, order.username, order.email)
    if problem:
        raise Failure(f"the first administrator (MCP_PLATFORM_ADMIN__PASSWORD) cannot be made: {problem}")
    return User(
        id=uuid4(),
        username=order.username,
        email=order.email,
        role=order.role,
        is_active=True,
        created_at=datetime.now(UTC),
    )
