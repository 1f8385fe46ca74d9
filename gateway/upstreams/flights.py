"""The requests in flight within one session, told apart by ids and progress tokens of our own."""

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.requests import ClientChannel, Message

_ID_BITS = 40
"""Other processes go on with the same sessions, so ids begin at random; JSON carries 53 bits exactly."""


@dataclass(slots=True)
class Flight:
    """One request on its way."""

    number: int
    channel: ClientChannel | None
    token: object
    """The progress token that its client chose; None without one."""


class Flights:
    """Numbers requests, and finds whose a notification is."""

    def __init__(self) -> None:
        self._ids = itertools.count(random.getrandbits(_ID_BITS))
        self._known: dict[int, Flight] = {}

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._known)

    def begin(
        self, method: str, params: dict[str, Any] | None, channel: ClientChannel | None
    ) -> tuple[Flight, Message]:
        """Give a request a number, and the message that is sent.

        Clients choose their progress tokens by themselves; on a shared session they must differ.
        """
        number = next(self._ids)
        token = None
        meta = params.get("_meta") if params else None
        if params is not None and isinstance(meta, Mapping) and "progressToken" in meta:
            token = meta["progressToken"]
            params = {**params, "_meta": {**meta, "progressToken": number}}
        message: Message = {"jsonrpc": "2.0", "id": number, "method": method}
        if params is not None:
            message["params"] = params
        flight = self._known[number] = Flight(number, channel, token)
        return flight, message

    def end(self, flight: Flight) -> None:
        """Forget a request."""
        self._known.pop(flight.number, None)

    def newest(self) -> Flight | None:
        """Give the request that was sent last, of those in flight."""
        return next(reversed(self._known.values()), None)

    def restore(self, message: Message) -> tuple[Message | None, ClientChannel | None]:
        """Give a notification as its client wants it, and whose it is; progress of nothing is dropped."""
        if message["method"] != "notifications/progress":
            return message, None
        params = message.get("params")
        token = params.get("progressToken") if isinstance(params, dict) else None
        flight = self._known.get(token) if isinstance(token, int) else None
        if flight is None or flight.token is None:
            return None, None
        return {**message, "params": {**(params or {}), "progressToken": flight.token}}, flight.channel
