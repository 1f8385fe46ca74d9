"""Tools that are requests to a plain HTTP API: `config.tools[].request`."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from mcp_platform.contracts.base import Order
from mcp_platform.templates import Template, places

HEADER_NAME = re.compile(r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")
HEADER_VALUE = re.compile(r"^[\t\x20-\x7e\x80-\xff]*\Z")
_NOT_IN_PATH = re.compile(r"[\x00-\x20\x7f?#\\]")
_FRAMING = frozenset(
    {
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "keep-alive",
        "accept-encoding",
    }
)
"""Headers by which HTTP itself works: who could set them would choose another host, or smuggle requests."""

Status = Annotated[int, Field(ge=300, le=499)]


class Style(StrEnum):
    """How a list or an object stands in a query."""

    REPEAT = "repeat"
    """`a=1&a=2`; the members of an object are parameters of their own."""
    COMMA = "comma"
    SPACE = "space"
    PIPE = "pipe"
    DEEP = "deep"
    """`a[x]=1&a[y]=2`, for objects."""
    JSON = "json"


class QueryParameter(Order):
    """A parameter whose lists and objects are written in a style of its own."""

    value: str
    style: Style = Style.REPEAT


class ResponseMapping(Order):
    """What of an answer is the tool's result."""

    pick: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """A part of a JSON answer: a JSON Pointer (`/data/items`, RFC 6901), or names and dots (`data.items`)."""
    read_as: Literal["json", "text"] | None = None
    """What the body is, where the API's `Content-Type` does not tell the truth."""
    accept: Annotated[list[Status], Field(max_length=50)] = []
    """Statuses between 300 and 499 that are no errors of the tool."""


class ToolRequest(Order):
    """The request that a call of the tool becomes; `{name}` stands for an argument, `${NAME}` for a secret.

    What names an argument that a call does not have is left out, but for the path, which must be whole.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    path: Annotated[str, Field(max_length=2000)] = ""
    """Follows the server's `url`; begins with `/` unless it is empty."""
    query: Annotated[dict[str, str | QueryParameter], Field(max_length=200)] = {}
    headers: Annotated[dict[str, str], Field(max_length=100)] = {}
    body: Any = None
    """JSON; a text that is one place and nothing else becomes the argument's value, whatever its type."""
    body_type: Literal["json", "form"] = "json"
    response: ResponseMapping = ResponseMapping()
    timeout: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds; no longer than the platform gives any call."""

    @field_validator("path")
    @classmethod
    def _below_the_base(cls, value: str) -> str:
        if value and not value.startswith("/"):
            raise ValueError("must begin with / and follow the server's url")
        words = "".join(part if isinstance(part, str) else "x" for part in Template.parse(value).parts)
        if _NOT_IN_PATH.search(words):
            raise ValueError("has characters that no path may have: a query belongs into `query`")
        if any(step in (".", "..") for step in words.split("/")):
            raise ValueError("must not have . or .. between its slashes")
        return value

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if not HEADER_NAME.match(name):
                raise ValueError(f"{name!r} is no name of an HTTP header")
            if name.lower() in _FRAMING:
                raise ValueError(f"{name!r} is set by the platform alone")
            if not HEADER_VALUE.match(content):
                raise ValueError(f"the value of {name!r} has characters that no HTTP header may have")
        return value

    @model_validator(mode="after")
    def _bodies(self) -> Self:
        if self.body is None:
            return self
        if self.method in ("GET", "OPTIONS"):
            raise ValueError(f"a {self.method} request has no body")
        whole = isinstance(self.body, str) and Template.parse(self.body).only is not None
        if self.body_type == "form" and not (isinstance(self.body, dict) or whole):
            raise ValueError("the body of a form is an object of its fields")
        return self

    @property
    def places(self) -> set[str]:
        """The arguments that the request has places for."""
        query = [each if isinstance(each, str) else each.value for each in self.query.values()]
        return places([self.path, *query, *self.headers.values(), self.body])
