"""Secrets: their names and when they changed; values only ever go in."""

import re
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, SecretStr, StrictBool

from mcp_platform.contracts.base import Contract, Moment, Order, plain_json

MOST_BYTES = 65_536
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]{0,127}\Z")


def _name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(
            "is named like an environment variable: up to 128 letters, digits and underscores,"
            " not beginning with a digit"
        )
    if value.startswith("MCP_PLATFORM_"):
        raise ValueError("names that begin with MCP_PLATFORM_ belong to the platform; choose another")
    return value


def _value(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        raise ValueError("is empty; to take a secret away, delete it")
    if "\0" in text:
        raise ValueError("has a NUL character, which no environment variable or header can hold")
    plain_json(text)
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES} bytes")
    return value


SecretName = Annotated[
    str,
    # The pattern is told, not enforced: what `_name` says of a wrong one is easier to read.
    Field(
        min_length=1,
        max_length=128,
        json_schema_extra={"pattern": "^(?!MCP_PLATFORM_)[A-Za-z_][A-Za-z0-9_]{0,127}$"},
    ),
    AfterValidator(_name),
]


class PutSecret(Order):
    """Body of `PUT /secrets/{name}`."""

    value: Annotated[SecretStr, Field(json_schema_extra={"minLength": 1}), AfterValidator(_value)]
    shared: StrictBool = False


class Secret(Contract):
    """A secret as it is stored, without its value."""

    id: UUID
    holder: str
    name: str
    created_at: Moment
    updated_at: Moment

    @property
    def shared(self) -> bool:
        """Whether it is for the configurations of everybody with `secrets:use`."""
        return self.holder == SHARED

    @property
    def purpose(self) -> str:
        """What its value is sealed for."""
        return secret_purpose(self.id)


SHARED = "shared"
"""The holder of secrets that are no account's own."""


def secret_purpose(secret_id: UUID) -> str:
    """Name what a secret's value is sealed for: a value that is moved to another row does not open."""
    return f"secret:{secret_id}"
