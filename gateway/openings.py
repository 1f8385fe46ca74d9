"""What an endpoint that is not one server's says of itself: `initialize` and `server/discover`."""

from typing import Any

from mcp_platform import __version__
from mcp_platform.wire import HANDSHAKE_VERSIONS, LATEST_HANDSHAKE, MODERN_VERSION, SERVER_INFO_KEY, Era


def opening(
    era: Era, wanted: object, name: str, title: str, capabilities: dict[str, Any], instructions: str
) -> dict[str, Any]:
    """Give the result of the request by which a client begins, in its era.

    Args:
        era: The client's.
        wanted: The version that a client of the older protocol asks for.
        name: What the endpoint is called by programs.
        title: What it is called by people.
        capabilities: What it offers.
        instructions: How it is used; may be empty.
    """
    info = {"name": name, "title": title, "version": __version__}
    result: dict[str, Any] = {"capabilities": capabilities}
    if instructions:
        result["instructions"] = instructions
    if era is Era.LEGACY:
        version = wanted if wanted in HANDSHAKE_VERSIONS else LATEST_HANDSHAKE
        return {"protocolVersion": version, "serverInfo": info, **result}
    return {
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
        "supportedVersions": [MODERN_VERSION],
        "_meta": {SERVER_INFO_KEY: info},
        **result,
    }
