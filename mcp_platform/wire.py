"""The MCP wire as plain dictionaries: names, versions, errors, and what differs between its two eras.

*Modern* is 2026-07-28: no handshake, every request carries an envelope in `_meta`. *Legacy* is
2025-11-25 and older: `initialize` first. Whoever stands between a client and a server of different
eras translates with the functions here; all fields that they do not name pass through untouched.
This module imports nothing heavy: the runner starts with it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MODERN_VERSION: Final = "2026-07-28"
HANDSHAKE_VERSIONS: Final = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
LATEST_HANDSHAKE: Final = HANDSHAKE_VERSIONS[-1]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REQUEST_TIMEOUT: Final = -32001
RESOURCE_NOT_FOUND: Final = -32002
HEADER_MISMATCH: Final = -32020
MISSING_CAPABILITY: Final = -32021
UNSUPPORTED_VERSION: Final = -32022

HTTP_STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
"""HTTP status of a modern error; those not listed are sent with 200."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO_KEY: Final = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO_KEY: Final = "io.modelcontextprotocol/serverInfo"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
TASKS_EXTENSION: Final = "io.modelcontextprotocol/tasks"
ERA_KEY: Final = "mcp-platform/era"
"""In the `_meta` of an answer to `server/discover`: the runner speaks for a server of this era."""
SHARED_KEY: Final = "mcp-platform/shared"
"""In the `_meta` of `initialize`: the session is for several clients that are alike."""
_ENVELOPE: Final = frozenset({VERSION_KEY, CLIENT_INFO_KEY, CAPABILITIES_KEY, LOG_LEVEL_KEY})

NAMED_METHODS: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""Methods whose `Mcp-Name` header repeats a parameter."""

CACHEABLE_METHODS: Final = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
"""Methods whose modern results say how long they may be cached."""

PER_CLIENT_METHODS: Final = frozenset(
    {"logging/setLevel", "resources/subscribe", "resources/unsubscribe", "subscriptions/listen"}
)
"""Methods that change what one client hears later: a connection shared by many cannot relay them."""

LISTEN_FLAGS: Final = {
    "notifications/tools/list_changed": "toolsListChanged",
    "notifications/prompts/list_changed": "promptsListChanged",
    "notifications/resources/list_changed": "resourcesListChanged",
}
"""What a `subscriptions/listen` request asks for, by the notification that it brings."""

_ENCODED = re.compile(r"=\?base64\?(?P<payload>[A-Za-z0-9+/]*={0,2})\?=")
_PLAIN = re.compile(r"[\x20-\x7e]*")


def speaks_modern(discovered: dict[str, Any]) -> bool:
    """Tell whether an answer to `server/discover` names the modern version.

    A runner speaks it for servers of the older era, too; by the older one it can relay more of these.
    """
    meta, versions = discovered.get("_meta"), discovered.get("supportedVersions")
    if isinstance(meta, dict) and meta.get(ERA_KEY) == "legacy":
        return False
    return isinstance(versions, list) and MODERN_VERSION in versions


class Era(StrEnum):
    """Which of the two wires a peer speaks."""

    MODERN = "modern"
    LEGACY = "legacy"


class RpcError(Exception):
    """A JSON-RPC error, as the other side sent it or as we answer it."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    @classmethod
    def read(cls, error: object) -> "RpcError":
        """Read the error in the `error` member of a response, however malformed."""
        if not isinstance(error, dict):
            return cls(INTERNAL_ERROR, "the server answered with an error that is no object")
        code = error.get("code")
        return cls(
            code if isinstance(code, int) else INTERNAL_ERROR,
            str(error.get("message", "unknown error")),
            error.get("data"),
        )

    def wire(self) -> dict[str, Any]:
        """Give the `error` member of a response."""
        body = {"code": self.code, "message": self.message}
        return body if self.data is None else {**body, "data": self.data}


@dataclass(frozen=True)
class ServerDescription:
    """What a server said of itself, by `server/discover` or `initialize`."""

    era: Era
    version: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def capabilities(self) -> dict[str, Any]:
        """What it offers."""
        found = self.raw.get("capabilities")
        return dict(found) if isinstance(found, dict) else {}

    def capabilities_for(self, client: Era) -> dict[str, Any]:
        """Give what it offers to clients of this era: tasks are another thing in each of them."""
        capabilities = self.capabilities
        if client is self.era:
            return capabilities
        capabilities.pop("tasks", None)
        extensions = capabilities.get("extensions")
        if isinstance(extensions, dict) and TASKS_EXTENSION in extensions:
            capabilities["extensions"] = {k: v for k, v in extensions.items() if k != TASKS_EXTENSION}
        return capabilities

    @property
    def server_info(self) -> dict[str, Any]:
        """Its name and version."""
        meta = self.raw.get("_meta")
        stamp = meta.get(SERVER_INFO_KEY) if isinstance(meta, dict) else None
        info = self.raw.get("serverInfo") or stamp
        return info if isinstance(info, dict) else {"name": "unnamed", "version": ""}

    def initialized(self, requested: object) -> dict[str, Any]:
        """Give the result of `initialize` for a legacy client that asked for this version."""
        result = dict(self.raw) if self.era is Era.LEGACY else {}
        result["protocolVersion"] = requested if requested in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE
        result["capabilities"] = self.capabilities_for(Era.LEGACY)
        result["serverInfo"] = self.server_info
        if "instructions" in self.raw:
            result["instructions"] = self.raw["instructions"]
        return result

    def discovered(self) -> dict[str, Any]:
        """Give the result of `server/discover` for a modern client."""
        result = dict(self.raw) if self.era is Era.MODERN else {"ttlMs": 0, "cacheScope": "private"}
        meta = self.raw.get("_meta")
        result["_meta"] = {**(meta if isinstance(meta, dict) else {}), SERVER_INFO_KEY: self.server_info}
        result["resultType"] = "complete"
        result["supportedVersions"] = [MODERN_VERSION]
        result["capabilities"] = self.capabilities_for(Era.MODERN)
        if "instructions" in self.raw:
            result["instructions"] = self.raw["instructions"]
        return result


def unstamp_subscription(message: dict[str, Any]) -> dict[str, Any]:
    """Take the subscription's id out of a notification, for clients of the older protocol."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(params, dict) or not isinstance(meta, dict) or SUBSCRIPTION_KEY not in meta:
        return message
    rest = {key: value for key, value in meta.items() if key != SUBSCRIPTION_KEY}
    kept = {key: value for key, value in params.items() if key != "_meta"}
    if rest:
        kept["_meta"] = rest
    bare = {key: value for key, value in message.items() if key != "params"}
    return {**bare, "params": kept} if kept else bare


def list_changes(server: ServerDescription) -> list[str]:
    """List the notifications of changed lists that a server declares."""
    declared = server.capabilities
    parts = {method: declared.get(method.split("/")[1]) for method in LISTEN_FLAGS}
    return [m for m, part in parts.items() if isinstance(part, dict) and part.get("listChanged") is True]


def stamp_subscription(message: dict[str, Any], number: object) -> dict[str, Any]:
    """Give a frame of a `subscriptions/listen` stream, or its result, the id of the client's own request."""
    name = "result" if "result" in message else "params"
    body = message.get(name) or {}
    meta = body.get("_meta")
    stamped = {**(meta if isinstance(meta, dict) else {}), SUBSCRIPTION_KEY: number}
    return {**message, name: {**body, "_meta": stamped}}


def envelope(
    client_info: Mapping[str, Any],
    capabilities: Mapping[str, Any] | None = None,
    log_level: str | None = None,
) -> dict[str, Any]:
    """Make the `_meta` of a modern request."""
    meta = {VERSION_KEY: MODERN_VERSION, CLIENT_INFO_KEY: client_info, CAPABILITIES_KEY: capabilities or {}}
    return meta if log_level is None else {**meta, LOG_LEVEL_KEY: log_level}


def translate_params(
    params: dict[str, Any] | None,
    client: Era,
    server: Era,
    client_info: Mapping[str, Any],
    capabilities: Mapping[str, Any] | None = None,
    log_level: str | None = None,
) -> dict[str, Any] | None:
    """Give a client's parameters as the server's era wants them.

    Args:
        params: As the client sent them.
        client: The client's era.
        server: The server's.
        client_info: What a modern server is told of an older client.
        capabilities: What that client declared when it began its session.
        log_level: The level that it set.
    """
    if client is server:
        return params
    params = dict(params or {})
    meta = params.pop("_meta", None)
    kept = {k: v for k, v in meta.items() if k not in _ENVELOPE} if isinstance(meta, dict) else {}
    if server is Era.MODERN:
        return {**params, "_meta": {**kept, **envelope(client_info, capabilities, log_level)}}
    if kept:
        params["_meta"] = kept
    return params or None


def translate_result(method: str, result: dict[str, Any], server: Era, client: Era) -> dict[str, Any]:
    """Give a server's result as the client's era wants it.

    Raises:
        RpcError: The server wants input that a legacy client cannot be asked for.
    """
    if client is server:
        return result
    if client is Era.MODERN:
        added: dict[str, Any] = {"resultType": "complete"}
        if method in CACHEABLE_METHODS:
            added |= {"ttlMs": 0, "cacheScope": "private"}
        return {**added, **result}
    if result.get("resultType", "complete") != "complete":
        raise RpcError(INVALID_REQUEST, "this server needs a client of protocol version 2026-07-28")
    left_out = {"resultType", "ttlMs", "cacheScope"} if method in CACHEABLE_METHODS else {"resultType"}
    kept = {key: value for key, value in result.items() if key not in left_out}
    meta = kept.get("_meta")
    if isinstance(meta, dict) and SERVER_INFO_KEY in meta:
        rest = {key: value for key, value in meta.items() if key != SERVER_INFO_KEY}
        kept = {**kept, "_meta": rest} if rest else {k: v for k, v in kept.items() if k != "_meta"}
    return kept


def translate_error(error: RpcError, server: Era, client: Era) -> RpcError:
    """Give a server's error as the client's era knows it: the modern wire has no code for absence."""
    if server is Era.LEGACY and client is Era.MODERN and error.code == RESOURCE_NOT_FOUND:
        return RpcError(INVALID_PARAMS, error.message, error.data)
    return error


def encode_header(value: str) -> str:
    """Write a value for an MCP header: as it is, or in base64 where HTTP would not carry it unchanged."""
    if _PLAIN.fullmatch(value) and value == value.strip() and not _ENCODED.fullmatch(value):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


def decode_header(value: str | None) -> str | None:
    """Read the value in an MCP header; None if there is none or it is malformed."""
    match = _ENCODED.fullmatch(value) if value is not None else None
    if match is None:
        return value
    try:
        return base64.b64decode(match["payload"], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
