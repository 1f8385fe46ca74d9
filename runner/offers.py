"""What the runner says of the server behind it: all that it can relay to a client, and no more."""

from typing import Any

from mcp_platform.wire import ERA_KEY, Era, ServerDescription


def initialized(server: ServerDescription, requested: object) -> dict[str, Any]:
    """Give the result of `initialize` for a client that shares the server."""
    result = server.initialized(requested)
    return result if server.era is Era.LEGACY else _without_state(result)


def discovered(server: ServerDescription) -> dict[str, Any]:
    """Give the result of `server/discover`."""
    result = server.discovered()
    if server.era is Era.MODERN:
        return result
    return {**_without_state(result), "_meta": {**result.get("_meta", {}), ERA_KEY: server.era.value}}


def has_state(server: ServerDescription) -> bool:
    """Whether the server may keep something for a client of the older era: levels, subscriptions, tasks."""
    if server.era is not Era.LEGACY:
        return False
    offered = server.capabilities
    resources = offered.get("resources")
    subscribe = isinstance(resources, dict) and "subscribe" in resources
    return "logging" in offered or "tasks" in offered or subscribe


def _without_state(result: dict[str, Any]) -> dict[str, Any]:
    """Leave out log levels and subscriptions: clients and servers of different eras have no common way."""
    capabilities = {key: value for key, value in result["capabilities"].items() if key != "logging"}
    resources = capabilities.get("resources")
    if isinstance(resources, dict):
        capabilities["resources"] = {key: value for key, value in resources.items() if key != "subscribe"}
    return {**result, "capabilities": capabilities}
