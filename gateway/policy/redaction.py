"""Secrets, taken out of what servers answer."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from gateway.requests import ClientChannel, Message
from mcp_platform.errors import Unavailable
from mcp_platform.security.api_keys import API_KEY_PREFIX
from mcp_platform.variables import Mask
from mcp_platform.wire import INTERNAL_ERROR, RpcError

log = structlog.get_logger(__name__)

SHOWN: Final = "[redacted]"
SHORTEST: Final = 6
"""Characters of a secret's value that is looked for: a shorter one would make gaps everywhere."""

_OPAQUE: Final = frozenset({"requestState", "blob"})
"""Members that only the server itself, or a program, can read."""
_MEDIA: Final = frozenset({"image", "audio"})

_WELL_KNOWN: Final = (
    # What must be in a text, and the pattern that is looked for then.
    (("AKIA", "ASIA"), re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")),
    (("ecret",), re.compile(r"(?i)(aws_?secret_?access_?key[\"'\\\s:=]{1,8})[A-Za-z0-9/+=]{40}")),
    (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}")),
    (("github_pat_",), re.compile(r"\bgithub_pat_[A-Za-z0-9_]{22,}")),
    (("eyJ",), re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{10,}")),
    ((API_KEY_PREFIX,), re.compile(rf"\b{API_KEY_PREFIX}[A-Za-z0-9_-]{{20,}}")),
    (
        ("PRIVATE KEY",),
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL
        ),
    ),
)


class Redactor:
    """Replaces secrets in texts: those of one MCP, and what looks like a well-known credential.

    Args:
        mask: Takes out the MCP's own, as they are written in plain text, JSON, URLs and base64.
    """

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def text(self, text: str) -> str:
        """Give the text without them."""
        text = self._mask.text(text)
        for hints, pattern in _WELL_KNOWN:
            if any(hint in text for hint in hints):
                text = pattern.sub(_kept_name, text)
        return text

    def value(self, value: Any) -> Any:
        """Give a JSON value in which every text is without them; binary data and opaque state stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            opaque = _OPAQUE | {"data"} if str(value.get("type")) in _MEDIA else _OPAQUE
            return {name: item if name in opaque else self.value(item) for name, item in value.items()}
        return value

    def error(self, error: RpcError) -> RpcError:
        """Give the same error without them."""
        return RpcError(error.code, self.text(error.message), self.value(error.data))


class _Client:
    """Whose channel it is."""

    def __init__(self, channel: ClientChannel) -> None:
        self._channel = channel

    @property
    def capabilities(self) -> Mapping[str, Any]:
        """What the client declared."""
        return self._channel.capabilities

    @property
    def client_info(self) -> Mapping[str, Any]:
        """Its name and version."""
        return self._channel.client_info


class RedactedChannel(_Client):
    """A client's channel through which no secrets go."""

    def __init__(self, channel: ClientChannel, redactor: Redactor) -> None:
        super().__init__(channel)
        self._redactor = redactor

    async def notify(self, message: Message) -> None:
        """Send a notification, redacted."""
        if "params" in message:
            message = {**message, "params": self._redactor.value(message["params"])}
        await self._channel.notify(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask the client, redacted."""
        return await self._channel.ask(method, self._redactor.value(params), timeout)


class LastingChannel(_Client):
    """A client's channel that outlives calls: the policy may change while it is open.

    Args:
        channel: The client.
        redactor: Gives what takes secrets out by the policy as it is now; None where it asks for nothing.
    """

    def __init__(self, channel: ClientChannel, redactor: Callable[[], Awaitable[Redactor | None]]) -> None:
        super().__init__(channel)
        self._redactor = redactor

    async def notify(self, message: Message) -> None:
        """Send a notification as the policy says; one that cannot be redacted now is dropped."""
        try:
            channel = await self._governed()
        except Unavailable as error:
            # Others may hear the same stream: it goes on.
            log.warning("notification_dropped", method=message.get("method"), reason=str(error))
            return
        await channel.notify(message)

    async def ask(self, method: str, params: dict[str, Any] | None, timeout: float) -> dict[str, Any]:
        """Ask the client as the policy says."""
        try:
            channel = await self._governed()
        except Unavailable as error:
            raise RpcError(INTERNAL_ERROR, str(error)) from None
        return await channel.ask(method, params, timeout)

    async def _governed(self) -> ClientChannel:
        redactor = await self._redactor()
        return self._channel if redactor is None else RedactedChannel(self._channel, redactor)


def _kept_name(match: re.Match[str]) -> str:
    """Replace what was found, but for the name before a value."""
    return (match[1] if match.re.groups else "") + SHOWN
