"""Accounts, credentials and what they allow."""

import re
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, SecretStr

from mcp_platform.contracts.base import Contract, Moment, Order


class Role(StrEnum):
    """What an account may do; the permissions of each are in `security.permissions`."""

    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class Permission(StrEnum):
    """What a route may demand: `<room>:<verb>`."""

    ACCOUNT = "account:manage"
    """One's own profile and API keys."""
    MCPS_READ = "mcps:read"
    MCPS_WRITE = "mcps:write"
    MCPS_DELETE = "mcps:delete"
    MCPS_ALL = "mcps:all"
    """Change and delete everybody's MCPs, not only one's own."""
    TASKS_READ = "tasks:read"
    TASKS_CANCEL = "tasks:cancel"
    TASKS_ALL = "tasks:all"
    """Everybody's tasks, not only one's own."""
    ANALYSIS_RUN = "analysis:run"
    DEPLOYMENTS_READ = "deployments:read"
    DEPLOYMENTS_WRITE = "deployments:write"
    DEPLOYMENTS_ALL = "deployments:all"
    """Scale and stop everybody's deployments, not only one's own."""
    DEPLOYMENTS_PROCESS = "deployments:process"
    """Deploy with the process driver, which runs commands as the platform's own user."""
    TOOLS_CALL = "tools:call"
    SECRETS_READ = "secrets:read"
    """See the names of one's own secrets and of shared ones."""
    SECRETS_WRITE = "secrets:write"
    SECRETS_SHARE = "secrets:share"
    """Make secrets that everybody's configurations may refer to."""
    KNOWLEDGE_READ = "knowledge:read"
    KNOWLEDGE_WRITE = "knowledge:write"
    KNOWLEDGE_ALL = "knowledge:all"
    """Change and delete everybody's documents, not only one's own."""
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    """Change, disable and delete accounts."""
    USERS_APPOINT = "users:appoint"
    """Make somebody an administrator, and say what roles may do."""
    AUDIT_READ = "audit:read"


_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")


def _email(value: str) -> str:
    if not _EMAIL.match(value):
        raise ValueError("is not an e-mail address; it looks like name@example.com")
    return value.lower()


def _long_enough(value: SecretStr) -> SecretStr:
    if not 12 <= len(value.get_secret_value()) <= 256:
        raise ValueError("a password has 12 to 256 characters")
    return value


Email = Annotated[str, Field(max_length=255), AfterValidator(_email)]
Password = Annotated[SecretStr, AfterValidator(_long_enough)]
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{2,63}$")]


class RegisterUser(Order):
    """Body of `POST /auth/register`."""

    username: Username
    email: Email
    password: Password
    role: Role = Role.DEVELOPER


class Login(Order):
    """Body of `POST /auth/login`."""

    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: Annotated[SecretStr, Field(max_length=256)]


class Refresh(Order):
    """Body of `POST /auth/refresh`."""

    refresh_token: SecretStr


class User(Contract):
    """An account, as everybody who may see it sees it."""

    id: UUID
    username: str
    email: str
    role: Role
    is_active: bool
    created_at: Moment


class TokenPair(Contract):
    """Answer to a sign-in or a refresh; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int


class CreateApiKey(Order):
    """Body of `POST /auth/api-keys`."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    expires_at: Moment | None = None


class ApiKey(Contract):
    """An API key, as listed: never the key itself."""

    id: UUID
    name: str
    prefix: str
    created_at: Moment
    expires_at: Moment | None = None


class NewApiKey(Contract):
    """Answer to the creation of an API key: the only time the key is shown."""

    id: UUID
    name: str
    key: str
    created_at: Moment
    expires_at: Moment | None = None


class Principal(Contract):
    """Who is calling, and what they may do."""

    user_id: UUID
    username: str
    permissions: frozenset[Permission]
    credential: str
    """`session:<id>` or `key:<id>`: what a log line may say of the credential."""
