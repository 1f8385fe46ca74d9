"""What a model may draft: a known server, a package, or an address; and what no stranger may set."""

import re
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mcp_platform.contracts.checks import Registry
from mcp_platform.contracts.images import NPM_PATTERN, PYPI_PATTERN
from mcp_platform.contracts.mcps import ServerConfig

_STEERING: Final = re.compile(
    r"PATH|HOME|SHELL|IFS|ENV|BASH_ENV|(HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE"
    r"|PYTHON(PATH|HOME|STARTUP)|NODE_(OPTIONS|PATH|EXTRA_CA_CERTS)|PERL5?LIB|RUBY(LIB|OPT)|CLASSPATH"
    r"|GIT_(SSH.*|CONFIG.*|EXEC_PATH|PROXY.*)|(LD|DYLD|UV|PIP|NPM_CONFIG|MCP_PLATFORM)_.*"
)
"""Variables that say which programs are run, and where from."""
_VARIABLE: Final = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
_PROGRAM: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def checked_variable(name: str) -> str:
    """Give the name of a variable that a stranger may have set.

    Raises:
        ValueError: It is no name, or one that says what is run or where from.
    """
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an environment variable")
    if _STEERING.fullmatch(name.upper()):
        raise ValueError(f"{name!r} changes which programs are run, or from where; leave it out")
    return name


class DraftSecret(BaseModel):
    """A secret that a server needs."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(description="The environment variable that the server reads it from")]
    what: Annotated[str, Field(max_length=300, description="What it is, and where one gets it")] = ""

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return checked_variable(value)


class DraftServer(BaseModel):
    """A server: a package of a registry, or the address of a remote one. Nothing else can be told."""

    model_config = ConfigDict(extra="forbid")

    registry: Annotated[Registry | None, Field(description="Where the package is")] = None
    package: Annotated[
        str | None, Field(max_length=200, description="Its exact name there, without a version")
    ] = None
    version: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$")] = None
    program: Annotated[
        str | None,
        Field(max_length=100, pattern=_PROGRAM, description="Its command, if not named like the package"),
    ] = None
    args: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=30)] = []
    env: Annotated[
        dict[str, Annotated[str, Field(max_length=500)]],
        Field(max_length=20, description="Variables that are no secrets"),
    ] = {}
    secrets: Annotated[list[DraftSecret], Field(max_length=20)] = []
    url: Annotated[str | None, Field(max_length=1000, description="Of a remote server, https")] = None
    bearer_secret: Annotated[
        str | None, Field(description="The secret that a remote server wants as a bearer token")
    ] = None

    @field_validator("env")
    @classmethod
    def _plain(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            checked_variable(name)
            if "${" in content:
                raise ValueError(f"{name}: name secrets in `secrets`, not with ${{…}}")
        return value

    @field_validator("args")
    @classmethod
    def _without_references(cls, value: list[str]) -> list[str]:
        if any("${" in each or "\x00" in each for each in value):
            raise ValueError("args must not refer to ${…}: name secrets in `secrets`")
        return value

    @field_validator("bearer_secret")
    @classmethod
    def _secret_name(cls, value: str | None) -> str | None:
        return None if value is None else checked_variable(value)

    @field_validator("url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and (not value.startswith("https://") or "@" in value or "${" in value):
            raise ValueError("must be an https:// address without a credential in it")
        return None if value is None else ServerConfig.model_validate({"url": value}).url

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.package is None) == (self.url is None):
            raise ValueError("needs exactly one of package and url")
        if self.package is not None:
            if self.registry is None:
                raise ValueError("a package needs its registry: pypi or npm")
            pattern = PYPI_PATTERN if self.registry is Registry.PYPI else NPM_PATTERN
            scope, _, rest = self.package.rpartition("/")
            if not re.fullmatch(pattern, self.package) or re.search(r"[@=<>~! ]", rest.removeprefix("@")):
                raise ValueError(f"{self.package!r} is no name of a package; the version has its own field")
            if scope and self.registry is Registry.PYPI:
                raise ValueError(f"{self.package!r} is no name of a package of PyPI")
        return self


class ConfigDraft(BaseModel):
    """What a model answers: a known server by its slug, or a server of its own."""

    model_config = ConfigDict(extra="forbid")

    known: Annotated[
        str | None, Field(max_length=100, description="The slug of one of the known servers that fits")
    ] = None
    server: Annotated[DraftServer | None, Field(description="Only where no known server fits")] = None
    name: Annotated[str, Field(min_length=1, max_length=100, description="What people call the MCP")]
    slug: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
    description: Annotated[str, Field(max_length=1000)] = ""
    explanation: Annotated[
        str, Field(max_length=3000, description="Why this one, in the language of the request")
    ]

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.known is None) == (self.server is None):
            raise ValueError("needs exactly one of known and server")
        return self
