"""Questions of servers to clients that have a session: asked on a stream, answered by a POST of its own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from secrets import token_hex
from typing import Any, Final

from mcp_platform.wire import INTERNAL_ERROR, METHOD_NOT_FOUND, REQUEST_TIMEOUT, RpcError

_MOST: Final = 10_000
_MOST_OF_ONE: Final = 100
"""Questions that wait for one session."""
_OFFERS: Final = {
    "sampling/createMessage": "sampling",
    "elicitation/create": "elicitation",
    "roots/list": "roots",
}
"""What a client has to declare before it may be asked."""

Sending = Callable[[dict[str, Any]], Awaitable[None]]


def asks_of(capabilities: Mapping[str, Any]) -> bool:
    """Tell whether a client with these capabilities may be asked anything."""
    return bool(capabilities) and any(name in capabilities for name in _OFFERS.values())


def check_offer(capabilities: Mapping[str, Any], method: str) -> None:
    """Return if a client with these capabilities may be asked this.

    Raises:
        RpcError: It did not declare that it offers it.
    """
    needed = _OFFERS.get(method)
    if needed is not None and needed not in capabilities:
        raise RpcError(METHOD_NOT_FOUND, f"this client does not offer {needed}, so {method} cannot be asked")


class Asks:
    """What is asked and not answered yet.

    Args:
        pass_on: Gives an answer that no question here waits for to the other processes: the POST that
            carries it may reach any of them.
    """

    def __init__(self, pass_on: Callable[[str, dict[str, Any]], Awaitable[None]]) -> None:
        self._pass_on = pass_on
        self._open: dict[str, tuple[str, asyncio.Future[dict[str, Any]]]] = {}

    async def ask(
        self,
        session_id: str,
        send: Sending,
        method: str,
        params: dict[str, Any] | None,
        timeout: float,
    ) -> dict[str, Any]:
        """Ask the client of a session by this way of sending, and give its result.

        Raises:
            RpcError: The client's own error, or it did not answer in time.
        """
        own = sum(session == session_id for session, _ in self._open.values())
        if len(self._open) >= _MOST or own >= _MOST_OF_ONE:
            raise RpcError(INTERNAL_ERROR, "too many questions wait for their clients")
        number = f"ask-{token_hex(12)}"  # unguessable: another session cannot answer it
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            message["params"] = params
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._open[number] = (session_id, answer)
        try:
            async with asyncio.timeout(timeout):
                await send(message)
                given = await answer
        except TimeoutError:
            raise RpcError(REQUEST_TIMEOUT, f"the client did not answer {method} in time") from None
        finally:
            del self._open[number]
        result = given.get("result")
        if isinstance(result, dict):
            return result
        raise RpcError.read(given.get("error"))

    async def answer(self, session_id: str, message: dict[str, Any]) -> None:
        """Take a client's answer; one that nobody here waits for goes to the other processes."""
        if not self.take(session_id, message):
            await self._pass_on(session_id, message)

    def take(self, session_id: str, message: dict[str, Any]) -> bool:
        """Take an answer if it is waited for here."""
        number = message.get("id")
        asked = self._open.get(number) if isinstance(number, str) else None
        if asked is None or asked[0] != session_id or asked[1].done():
            return False
        asked[1].set_result(message)
        return True
