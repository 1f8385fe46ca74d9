"""Servers of 2026-07-28 that need input ("Multi Round-Trip Requests"), for clients of the older protocol.

These are asked, and the call is repeated with their answers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.requests import ClientChannel
from mcp_platform.errors import UpstreamFailed
from mcp_platform.wire import INVALID_REQUEST, RpcError

_MOST_ROUNDS: Final = 10
"""As the official clients do."""
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.25

_PATIENCE: Final = 300.0
"""Seconds that a client, often a person, has for each question."""

Request = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


async def complete(
    params: dict[str, Any],
    request: Request,
    channel: ClientChannel | None,
    spend: Callable[[float], None],
) -> dict[str, Any]:
    """Repeat a request until its result is complete.

    `spend` is told how long the client was asked: while it thinks, the server's time stands still.

    Raises:
        RpcError: The client refused, or cannot be asked.
        UpstreamFailed: The server asks for ever, or for nothing.
    """
    result, pause = await request(params), _FIRST_PAUSE
    for _ in range(_MOST_ROUNDS):
        if result.get("resultType") != "input_required":
            return result
        if channel is None:
            raise RpcError(INVALID_REQUEST, "this server asks for input, and the caller cannot be asked")
        again = dict(params)
        wanted, state = result.get("inputRequests"), result.get("requestState")
        if isinstance(wanted, dict) and wanted:
            begun = time.monotonic()
            again["inputResponses"] = await _ask_all(wanted, channel)
            spend(time.monotonic() - begun)
            pause = _FIRST_PAUSE
        elif state is None:
            raise UpstreamFailed("The MCP server asks for input, and does not say for which")
        else:
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        if state is not None:
            again["requestState"] = state
        result = await request(again)
    if result.get("resultType") == "input_required":
        raise UpstreamFailed(f"The MCP server asked for input more than {_MOST_ROUNDS} times")
    return result


async def _ask_all(wanted: dict[str, Any], channel: ClientChannel) -> dict[str, Any]:
    """Ask everything at once; the first refusal ends the others."""
    asked = {key: asyncio.create_task(_ask(each, channel)) for key, each in wanted.items()}
    try:
        await asyncio.wait(asked.values(), return_when=asyncio.FIRST_EXCEPTION)
        for task in asked.values():
            if task.done():
                task.result()
        return {key: task.result() for key, task in asked.items()}
    finally:
        for task in asked.values():
            task.cancel()
        await asyncio.gather(*asked.values(), return_exceptions=True)


async def _ask(wanted: object, channel: ClientChannel) -> dict[str, Any]:
    method = wanted.get("method") if isinstance(wanted, dict) else None
    if not isinstance(wanted, dict) or not isinstance(method, str):
        raise UpstreamFailed("The MCP server asks for input that is no request")
    params = wanted.get("params")
    return await channel.ask(method, params if isinstance(params, dict) else None, _PATIENCE)
