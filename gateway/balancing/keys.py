"""What a request is told apart by, where the same replica is to answer what belongs together."""

from typing import Any

import orjson

from gateway.requests import RelayedRequest
from mcp_platform.contracts.balancing import HashBy


def key_of(request: RelayedRequest, hash_by: HashBy | None) -> bytes | None:
    """Give the header or argument that the request has; without a rule it is the caller's credential."""
    if hash_by is None:
        return request.principal.credential.encode() if request.principal is not None else None
    if hash_by.header is not None:
        header = (request.client_headers or {}).get(hash_by.header)
        return header.encode() if header is not None else None
    return _argument(request.params, hash_by.argument or "")


def _argument(params: dict[str, Any] | None, path: str) -> bytes | None:
    value: Any = (params or {}).get("arguments")
    for name in path.split("."):
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None  # half a character, or a number beyond 64 bits
