"""Images that the platform builds: from what, and what came of it."""

import re
from enum import StrEnum
from typing import Annotated, Final, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from mcp_platform.contracts.base import Contract, Moment, Order
from mcp_platform.contracts.tasks import TaskKind, TaskRecord, TaskState
from mcp_platform.names import build_workflow_id

BUILD_PROGRESS: Final = "images.progress"
"""Name of the signal by which a build tells its workflow how far it is."""

_VERSION = r" *(===|==|~=|!=|<=|>=|<|>) *[A-Za-z0-9.*+!_-]+"
PYPI_PATTERN: Final = (
    rf"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9,._ -]+\])?({_VERSION}( *,{_VERSION})*)?$"
)
NPM_PATTERN: Final = (
    r"^(@[A-Za-z0-9~][A-Za-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*(@[A-Za-z0-9.^~<>=*+_-]+)?$"
)

_REFERENCE = re.compile(r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")

PyPiRequirement = Annotated[str, Field(pattern=PYPI_PATTERN, max_length=200)]
NpmPackage = Annotated[str, Field(pattern=NPM_PATTERN, max_length=300)]


class GitSource(Order):
    """A Git repository that a server is built from."""

    url: Annotated[str, Field(max_length=2048)]
    """`https://…`, without a credential in it."""
    ref: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/+-]*$", max_length=255)] = "HEAD"
    """A branch, a tag or a commit."""
    path: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/-]*$", max_length=1024)] | None = None
    """The folder of the server within the repository, where it is not its root."""
    token: str | None = None
    """`${NAME}`: the secret with which a private repository is read."""

    @field_validator("url")
    @classmethod
    def _web_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"\s", value):
            raise ValueError("must be an https:// address, such as https://git.example.com/team/server.git")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must not hold a credential; store it as a secret and give token: ${NAME}")
        return value

    @field_validator("token")
    @classmethod
    def _by_name(cls, value: str | None) -> str | None:
        if value is not None and not _REFERENCE.fullmatch(value):
            raise ValueError("must be the name of a secret, such as ${GIT_TOKEN}")
        return value

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str | None) -> str | None:
        if value is not None and ".." in value.split("/"):
            raise ValueError("must lie inside the repository")
        return value


class BuildConfig(Order):
    """What the image of a server with a command is made from: exactly one of these."""

    pypi: Annotated[list[PyPiRequirement], Field(min_length=1, max_length=50)] | None = None
    """Python packages, as pip takes them: `mcp-server-time==2026.10.19`."""
    npm: Annotated[list[NpmPackage], Field(min_length=1, max_length=50)] | None = None
    """Packages of Node.js: `@scope/server@1.2.0`."""
    requirements: Annotated[str, Field(min_length=1, max_length=100_000)] | None = None
    """The text of a requirements file."""
    git: GitSource | None = None

    @field_validator("requirements")
    @classmethod
    def _without_secrets(cls, value: str | None) -> str | None:
        if value is not None and "${" in value:
            raise ValueError("must not refer to ${NAME}: no secrets are given to a build")
        return value

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("pypi", "npm", "requirements", "git") if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"needs exactly one of pypi, npm, requirements and git; found {found}")
        return self


class SourceKind(StrEnum):
    """Where a server comes from."""

    PYPI = "pypi"
    NPM = "npm"
    REQUIREMENTS = "requirements"
    GIT = "git"


class BuildSource(Contract):
    """What an image is built from, told or worked out from the command."""

    kind: SourceKind
    packages: list[str] = []
    requirements: str | None = None
    git: GitSource | None = None


class BuildOrder(Contract):
    """What the workflow that builds a revision's image is started with."""

    deployment_id: UUID
    revision: int
    owner_id: UUID

    @property
    def task_id(self) -> str:
        """The id of the task, which is the workflow's."""
        return build_workflow_id(self.deployment_id, self.revision)

    def task(self, moment: Moment) -> TaskRecord:
        """Give the task by which users follow the build."""
        return TaskRecord(
            task_id=self.task_id,
            kind=TaskKind.BUILD_IMAGE,
            owner_id=self.owner_id,
            status=TaskState.PENDING,
            message="Queued",
            created_at=moment,
        )


class BuildBounds(Contract):
    """What the worker's settings allow a build."""

    timeout: float
    """Seconds."""


class BuildProgress(Contract):
    """How far a build is (percent), and what comes now."""

    progress: int
    message: str


class BuiltImage(Contract):
    """What came of a build."""

    image: str
    """By its digest."""
    tag: str
    source: SourceKind
    built: bool
    """False where the image of the same content was there already."""
    seconds: float


class BuildLog(Contract):
    """The last lines that a build wrote."""

    task_id: str
    lines: list[str]
    left_out: int
    """How many lines stood before the first."""
