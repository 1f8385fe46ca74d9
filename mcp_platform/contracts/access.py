"""Accounts, credentials and what they allow."""

import re
from enum import StrEnum
from typing import Annotated, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, StrictBool

from mcp_platform.contracts.base import Contract, Moment, Order


class Role(StrEnum):
    """The built-in roles; the permissions of each are in `security.permissions`."""

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
    MCPS_PUBLISH = "mcps:publish"
    """Let callers without a credential reach an MCP, and say which of its tools they may call."""
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
    TOOLS_APPROVE = "tools:approve"
    """Decide about changed definitions of pinned tools."""
    SECRETS_READ = "secrets:read"
    """See the names of one's own secrets."""
    SECRETS_WRITE = "secrets:write"
    SECRETS_USE = "secrets:use"
    """Refer to shared secrets in one's configurations."""
    SECRETS_SHARE = "secrets:share"
    """Make shared secrets."""
    KNOWLEDGE_READ = "knowledge:read"
    KNOWLEDGE_WRITE = "knowledge:write"
    KNOWLEDGE_ALL = "knowledge:all"
    """Change and delete everybody's documents, not only one's own."""
    GITHUB_READ = "github:read"
    """See one's own connections to repositories."""
    GITHUB_WRITE = "github:write"
    """Connect repositories, sync with them and push to them."""
    GITHUB_ALL = "github:all"
    """See, change and end everybody's connections, not only one's own."""
    MODELS_ALL = "models:all"
    """See what language models cost for everybody, not only for oneself."""
    GROUPS_READ = "groups:read"
    """See the groups that one belongs to."""
    GROUPS_WRITE = "groups:write"
    """Make groups, and change one's own."""
    GROUPS_ALL = "groups:all"
    """See, change, delete and use everybody's groups, not only one's own."""
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    """Change, disable and delete accounts."""
    USERS_APPOINT = "users:appoint"
    """Make somebody an administrator, and say what roles may do."""
    AUDIT_READ = "audit:read"
    GATEWAY_ADMIN = "gateway:admin"
    """Change how the gateways spread calls, and take replicas out of rotation."""


T = TypeVar("T")

_EMAIL_LENGTH = 255
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value):
        raise ValueError("is not an e-mail address; it looks like name@example.com")
    lower = value.lower()
    if len(lower) > _EMAIL_LENGTH:
        # Some letters have more characters in lower case.
        raise ValueError(f"has more than {_EMAIL_LENGTH} characters")
    return lower


def _long_enough(value: SecretStr) -> SecretStr:
    if not 12 <= len(value.get_secret_value()) <= 256:
        raise ValueError("a password has 12 to 256 characters")
    return value


def _distinct(values: list[T]) -> list[T]:
    return list(dict.fromkeys(values))


Email = Annotated[
    str,
    # The validator says what is right; the pattern is for who reads the schema.
    Field(max_length=_EMAIL_LENGTH, json_schema_extra={"pattern": _EMAIL.pattern}),
    AfterValidator(_email),
]
Password = Annotated[
    SecretStr,
    Field(json_schema_extra={"minLength": 12, "maxLength": 256}),
    AfterValidator(_long_enough),
]
OldPassword = Annotated[SecretStr, Field(max_length=256)]
"""A password to compare with: whatever was right once is taken."""
Code = Annotated[SecretStr, Field(max_length=64)]
"""Six digits from an authenticator, or a recovery code."""
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{2,63}$")]


RoleName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{1,31}$")]


class RegisterUser(Order):
    """Body of `POST /auth/register`."""

    username: Username
    email: Email
    password: Password
    role: Role = Role.DEVELOPER


class Login(Order):
    """Body of `POST /auth/login`."""

    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: OldPassword
    code: Code | None = None
    """Needed where a second factor is on."""


class PasswordForm(BaseModel):
    """Form of `POST /auth/token`: OAuth2's password grant (RFC 6749, section 4.3)."""

    model_config = ConfigDict(frozen=True)

    username: Annotated[str, Field(min_length=1, max_length=255)]
    password: OldPassword
    code: Code | None = None
    """Needed where a second factor is on."""
    grant_type: Annotated[str, Field(pattern="^password$")] | None = None
    scope: str = ""
    client_id: str | None = None
    client_secret: SecretStr | None = None


class Refresh(Order):
    """Body of `POST /auth/refresh`."""

    refresh_token: SecretStr


class ChangeProfile(Order):
    """Body of `PATCH /auth/me`; what is left out stays."""

    username: Username | None = None
    email: Email | None = None


class ChangePassword(Order):
    """Body of `POST /auth/me/password`."""

    current_password: OldPassword
    new_password: Password


class ConfirmPassword(Order):
    """Body of `POST /auth/me/mfa`."""

    password: OldPassword


class ConfirmCode(Order):
    """Body of `POST /auth/me/mfa/confirm`."""

    code: Code


class ConfirmBoth(Order):
    """Body of what changes a second factor that is on."""

    password: OldPassword
    code: Code


class User(Contract):
    """An account, as everybody who may see it sees it."""

    id: UUID
    username: str
    email: str
    role: str
    """A built-in role or a custom one."""
    is_active: bool
    created_at: Moment


class Profile(User):
    """One's own account."""

    mfa_enabled: bool
    permissions: list[Permission]


class UserDetails(User):
    """An account, as administrators see it."""

    mfa_enabled: bool


class ChangeUser(Order):
    """Body of `PATCH /users/{id}`; what is left out stays."""

    role: RoleName | None = None
    is_active: StrictBool | None = None
    email: Email | None = None


class TokenPair(Contract):
    """Answer to a sign-in or a refresh; `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int


class Session(Contract):
    """A sign-in that goes on; what is null was not recorded."""

    id: UUID
    created_at: Moment | None
    refreshed_at: Moment | None
    expires_at: Moment
    address: str | None
    """Where it was last used to get new tokens from."""
    user_agent: str | None
    current: bool = False
    """Whether it is the one that asks."""


class Enrolment(Contract):
    """Answer to `POST /auth/me/mfa`: what an authenticator needs to know, in three forms."""

    secret: str
    otpauth_uri: str
    qr_svg: str
    """An inline SVG that shows the URI as a QR code."""


class RecoveryCodes(Contract):
    """Codes that stand in for an authenticator, once each; this answer is the only one that shows them."""

    recovery_codes: list[str]


class RoleOrder(Order):
    """Body of `PUT /roles/{name}`."""

    description: Annotated[str, Field(max_length=255)] = ""
    permissions: Annotated[list[Permission], AfterValidator(_distinct)]


class CreateRole(RoleOrder):
    """Body of `POST /roles`."""

    name: RoleName


class RoleDetails(Contract):
    """What accounts of a role may do."""

    name: str
    description: str
    permissions: list[Permission]
    built_in: bool = False
    created_at: Moment | None = None
    updated_at: Moment | None = None


class CreateApiKey(Order):
    """Body of `POST /auth/api-keys`."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    expires_at: Moment | None = None
    scopes: Annotated[list[str], Field(min_length=1, max_length=64), AfterValidator(_distinct)] | None = None
    """`READ`, `WRITE`, `ADMIN` or single permissions; without any the key may do all that its owner may."""
    mcp_ids: Annotated[list[UUID], Field(min_length=1, max_length=100), AfterValidator(_distinct)] | None = (
        None
    )
    """The only MCPs that the key may use; without any, all."""


class ApiKey(Contract):
    """An API key, as listed: never the key itself."""

    id: UUID
    name: str
    prefix: str
    created_at: Moment
    expires_at: Moment | None = None
    scopes: list[str] | None = None
    mcp_ids: list[UUID] | None = None
    last_used_at: Moment | None = None


class NewApiKey(Contract):
    """Answer to the creation of an API key: the only time the key is shown."""

    id: UUID
    name: str
    key: str
    created_at: Moment
    expires_at: Moment | None = None
    scopes: list[str] | None = None
    mcp_ids: list[UUID] | None = None


class Principal(Contract):
    """Who is calling, and what they may do."""

    user_id: UUID
    username: str
    permissions: frozenset[Permission]
    credential: str
    """`session:<id>`, `key:<id>` or `grant:<id>`: what a log line may say of the credential."""
    expires_at: Moment | None = None
    """When the credential ends by itself."""
    mcp_ids: frozenset[UUID] | None = None
    """The only MCPs that the credential may use; None: all."""
    endpoint: str | None = None
    """The only endpoint beneath `/mcp` that the credential is good for, as `gateway.requests` names them;
    None: it is good everywhere."""
    role: str = ""
    """The account's role."""
    group_ids: frozenset[UUID] = frozenset()
    """The groups that the account is a member of."""

    def may_use(self, mcp_id: UUID) -> bool:
        """Tell whether the credential is good for this MCP."""
        return self.mcp_ids is None or mcp_id in self.mcp_ids
