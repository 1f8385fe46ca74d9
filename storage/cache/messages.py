"""Messages between processes. They are hints: one that is lost is made good by reading anew."""

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from redis.asyncio import Redis

from mcp_platform.contracts.base import Contract
from mcp_platform.names import Channel
from storage.cache.connection import AWAY
from storage.cancellation import cancellations

log = structlog.get_logger(__name__)

_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 5.0
_POLL: Final = 5.0
"""Seconds after which a silent connection is looked at: a dead one is noticed by the client then."""


@dataclass(frozen=True)
class Message:
    """What was heard. Without a channel: something may have been missed, so read everything anew."""

    channel: Channel | None
    data: dict[str, Any] = field(default_factory=dict)
    interrupted: bool = False
    """Nothing is heard from now on, until the next message without a channel."""


async def publish(cache: Redis, channel: Channel, message: Contract | dict[str, Any]) -> None:
    """Tell everybody who listens. A cache that is away is logged and does no harm to the caller."""
    text = message.model_dump_json() if isinstance(message, Contract) else json.dumps(message)
    try:
        await cache.publish(channel.value, text)
    except AWAY as error:
        log.warning("message_not_published", channel=channel.value, error=str(error))


async def listen(cache: Redis, *channels: Channel) -> AsyncGenerator[Message, None]:
    """Hear messages until cancelled, however often the cache goes away and comes back.

    The first message, and the first after each interruption, has no channel. It comes once the server
    has confirmed the subscription, so that nothing falls between reading anew and the next message.
    Another one comes when an interruption begins.
    """
    delay = _FIRST_DELAY
    heard = False
    cancelled_before = cancellations()
    while True:
        try:
            async with cache.pubsub() as subscription:
                await subscription.subscribe(*(channel.value for channel in channels))
                while True:
                    raw = await subscription.get_message(timeout=_POLL)
                    _check_cancelled(cancelled_before)
                    message = _parse(raw, len(channels))
                    if message is not None:
                        delay = _FIRST_DELAY
                        heard = True
                        yield message
        except AWAY as error:
            log.warning("listener_interrupted", error=str(error), retry_in=delay)
            if heard:
                heard = False
                yield Message(None, interrupted=True)
        await asyncio.sleep(delay)
        delay = min(delay * 2, _LONGEST_DELAY)


def _check_cancelled(before: int) -> None:
    """Make good a cancellation that arrived together with a message.

    Until Python 3.12 `asyncio.wait_for`, with which the client inside the process waits, swallows it.
    """
    if cancellations() > before:
        raise asyncio.CancelledError


def _parse(raw: dict[str, Any] | None, channels: int) -> Message | None:
    if raw is None:
        return None
    if raw["type"] == "subscribe":
        # The client subscribes again by itself after a short interruption, and the server confirms
        # every channel: that is how an interruption is noticed at all.
        return Message(None) if raw["data"] >= channels else None
    try:
        data = json.loads(raw["data"])
        if isinstance(data, dict):
            return Message(Channel(raw["channel"]), data)
    except ValueError:
        pass
    log.warning("message_not_understood", channel=raw["channel"])
    return None
