"""One HTTP request of an MCP client, read as far as both eras need it."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from starlette.types import Receive, Scope, Send

from mcp_platform.contracts.access import Principal
from mcp_platform.wire import INVALID_REQUEST, PARSE_ERROR, RpcError

_METHOD: Final = re.compile(r"[A-Za-z0-9_./$-]{1,128}")
_DEEP: Final = 250


@dataclass(slots=True)
class Incoming:
    """A request that was let in."""

    scope: Scope
    receive: Receive
    send: Send
    headers: dict[str, str]
    """By their names in lower case, without blanks around the values."""
    endpoint: str
    """The slug, `group/{name}` or `smart`."""
    principal: Principal | None
    """None: no credential, and the MCP is public."""
    charge: Callable[[], Awaitable[None]]
    """Charges its rate limit once more: for each further message of a batch."""

    @property
    def streams(self) -> bool:
        """Whether the client takes a stream of events."""
        accept = self.headers.get("accept", "*/*")
        return "text/event-stream" in accept or "*/*" in accept

    @property
    def acceptable(self) -> bool:
        """Whether the client takes anything that we send."""
        return self.streams or "application/" in self.headers.get("accept", "*/*")


def header_map(scope: Scope) -> dict[str, str]:
    """Read the headers once, as every step after this wants them."""
    return {name.decode("latin-1"): value.decode("latin-1").strip() for name, value in scope["headers"]}


def read_object(body: bytes) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        RpcError: It is no JSON, or no object.
    """
    message = read_json(body)
    if not isinstance(message, dict):
        raise RpcError(INVALID_REQUEST, "The body must be one JSON-RPC message")
    return message


def read_json(body: bytes) -> Any:
    """Read the body.

    Raises:
        RpcError: It is no JSON.
    """
    try:
        message = orjson.loads(body)
        if body.count(b"[") + body.count(b"{") > _DEEP:
            orjson.dumps(message)  # which stops at a depth that reading does not
    except orjson.JSONDecodeError as error:
        raise RpcError(PARSE_ERROR, f"Parse error: {error}") from None
    except TypeError:
        raise RpcError(PARSE_ERROR, f"Parse error: nested more than {_DEEP} levels deep") from None
    return message


def check_method(method: object) -> str:
    """Give the method of a request.

    Raises:
        RpcError: It is none: it would be passed on as a header.
    """
    if isinstance(method, str) and _METHOD.fullmatch(method):
        return method
    raise RpcError(INVALID_REQUEST, "method must be 1 to 128 letters, digits, and any of _ . / $ -")
