"""`subscriptions/listen` of 2026-07-28, for endpoints that are not one server's."""

from typing import Any, Final

from gateway.catalogue import PROMPTS_CHANGED, RESOURCES_CHANGED, TOOLS_CHANGED
from gateway.news import News
from gateway.requests import ClientRequest

_FLAGS: Final = {
    "toolsListChanged": TOOLS_CHANGED,
    "promptsListChanged": PROMPTS_CHANGED,
    "resourcesListChanged": RESOURCES_CHANGED,
}


async def serve_subscription(request: ClientRequest, news: News) -> dict[str, Any]:
    """Tell the client of changed lists until it leaves; of nothing else, and that is acknowledged first."""
    wanted = (request.params or {}).get("notifications")
    asked = wanted if isinstance(wanted, dict) else {}
    honoured = {flag: True for flag in _FLAGS if asked.get(flag) is True}
    methods = {_FLAGS[flag] for flag in honoured}
    acknowledged = {
        "jsonrpc": "2.0",
        "method": "notifications/subscriptions/acknowledged",
        "params": {"notifications": honoured},
    }
    await news.follow(request.endpoint, request.channel.notify, methods=methods, first=acknowledged)
    return {"resultType": "complete"}
