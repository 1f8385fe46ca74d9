"""What a modern request must carry (MCP 2026-07-28, "Per-request protocol fields" and "Standard headers")."""

from collections.abc import Mapping
from typing import Any

from mcp_platform.wire import (
    CAPABILITIES_KEY,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    MODERN_VERSION,
    NAMED_METHODS,
    UNSUPPORTED_VERSION,
    VERSION_KEY,
    RpcError,
    decode_header,
)


def check_envelope(message: dict[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Give the `_meta` of a modern request.

    Args:
        message: A JSON-RPC request.
        headers: By their names in lower case.

    Raises:
        RpcError: The envelope is incomplete, the headers disagree with the body, or the version is unknown.
    """
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if not isinstance(meta, dict) or VERSION_KEY not in meta or CAPABILITIES_KEY not in meta:
        raise RpcError(INVALID_PARAMS, f"params._meta must carry {VERSION_KEY} and {CAPABILITIES_KEY}")
    method, version = message["method"], meta[VERSION_KEY]
    if not isinstance(version, str) or not isinstance(meta[CAPABILITIES_KEY], dict):
        raise RpcError(INVALID_PARAMS, f"{VERSION_KEY} must be a string and {CAPABILITIES_KEY} an object")
    _check_header(headers, "mcp-protocol-version", "MCP-Protocol-Version", version)
    _check_header(headers, "mcp-method", "Mcp-Method", method)
    named = NAMED_METHODS.get(method)
    name = params.get(named) if params and named is not None else None
    if name is not None and decode_header(headers.get("mcp-name")) != name:
        raise RpcError(HEADER_MISMATCH, f"the header Mcp-Name does not match params.{named}")
    if version != MODERN_VERSION:
        raise unsupported(version)
    return meta


def unsupported(version: str) -> RpcError:
    """Make the error for a version that is not spoken here; it names those that are, of this era."""
    return RpcError(
        UNSUPPORTED_VERSION,
        "Unsupported protocol version",
        {"supported": [MODERN_VERSION], "requested": version},
    )


def _check_header(headers: Mapping[str, str], name: str, shown: str, value: object) -> None:
    found = headers.get(name)
    if found != value:
        problem = "is missing" if found is None else "does not match the body"
        raise RpcError(HEADER_MISMATCH, f"the header {shown} {problem}")
