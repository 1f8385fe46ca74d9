"""A registry of MCP servers, over HTTP: the official one, or another that speaks its API (v0.1)."""

import asyncio
import json
from datetime import datetime
from typing import Final

import httpx

from mcp_platform.contracts.known import RegistryPage
from mcp_platform.errors import Unavailable
from mcp_platform.formats.registry_entries import read_page

PAGE: Final = 100
_REFUSED: Final = frozenset({400, 404, 422})
_LARGEST_PAGE: Final = 8_388_608
"""Bytes of an answer that are read."""


class ServerRegistry:
    """Reads one registry.

    Args:
        source: Its address, before `/v0.1`.
        timeout: Seconds that one page may take.
    """

    def __init__(self, source: str, timeout: float) -> None:
        self.source = source.rstrip("/")
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def page(self, cursor: str | None, since: datetime | None) -> RegistryPage:
        """Read one page of the latest versions, or of those that were changed since.

        A cursor that is none of its any more is left out.

        Raises:
            Unavailable: It cannot be reached, or answers with something else.
        """
        asked = {"limit": str(PAGE), "version": "latest"}
        if since is not None:
            asked["updated_since"] = since.isoformat().replace("+00:00", "Z")
        status, body = await self._get(asked if cursor is None else asked | {"cursor": cursor})
        if cursor is not None and status in _REFUSED:
            status, body = await self._get(asked)
        if status != httpx.codes.OK:
            raise _away(f"answers with status {status}")
        try:
            return read_page(json.loads(body))
        except (ValueError, RecursionError) as error:
            raise _away(f"answers with something else than a page of servers: {error}") from None

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, asked: dict[str, str]) -> tuple[int, bytes]:
        client = self._client = self._client or httpx.AsyncClient(timeout=self._timeout)
        try:
            async with (
                asyncio.timeout(self._timeout),
                client.stream("GET", f"{self.source}/v0.1/servers", params=asked) as answer,
            ):
                body = bytearray()
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > _LARGEST_PAGE:
                        raise _away(f"gives a page of more than {_LARGEST_PAGE} bytes")
                return answer.status_code, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            raise _away(f"cannot be reached ({type(error).__name__})") from None


def _away(what: str) -> Unavailable:
    return Unavailable(f"The registry of MCP servers {what}", part="server_registry")
