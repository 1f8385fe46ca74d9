"""Reading small JSON documents from addresses that others name: bounded, without redirects, guarded."""

import errno
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson

from gateway.upstreams.tls import failure
from mcp_platform.addresses import refusal
from mcp_platform.contracts.oauth import RemoteAway

_LARGEST: Final = 65_536
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)


@dataclass(frozen=True)
class Fetched:
    """An answer; its body only where it is a JSON object."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


class Outbound:
    """An HTTP client for addresses that come from outside.

    The address of each connection is checked after name resolution, so that no name leads into a network
    that is not meant.

    Args:
        private: Whether private networks and loopback may be reached, and without TLS.
    """

    def __init__(self, private: bool) -> None:
        self._private = private
        self.tls = ssl.create_default_context()
        """Whom to trust: whom the system does."""
        connector = aiohttp.TCPConnector(limit=20, force_close=True, ssl=self.tls, socket_factory=self._open)
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "mcp-platform", "Accept": "application/json"},
            timeout=_TIMEOUT,
        )

    def allows(self, url: str) -> bool:
        """Tell whether an address begins as one that may be read."""
        return url.startswith(("https://", "http://") if self._private else "https://")

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def get(self, url: str) -> Fetched:
        """Read a document.

        Raises:
            RemoteAway: The address may not be reached, nothing answers there, or the answer is too large.
        """
        return await self._request("GET", url)

    async def post_form(
        self, url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> Fetched:
        """Send a form.

        Raises:
            RemoteAway: As for `get`.
        """
        return await self._request("POST", url, data=dict(fields), headers=dict(headers or {}))

    async def post_json(self, url: str, body: dict[str, Any]) -> Fetched:
        """Send JSON.

        Raises:
            RemoteAway: As for `get`.
        """
        return await self._request("POST", url, json=body)

    async def challenge(self, url: str, headers: Mapping[str, str]) -> Fetched:
        """Ask an MCP server something, to see whether and how it asks for authorization.

        Raises:
            RemoteAway: As for `get`.
        """
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accept = {"Accept": "application/json, text/event-stream"}
        return await self._request("POST", url, json=ping, headers={**accept, **headers})

    async def _request(self, method: str, url: str, **options: Any) -> Fetched:
        host = self._checked(url)
        try:
            async with self._http.request(method, url, allow_redirects=False, **options) as response:
                if response.content_type == "text/event-stream":
                    return Fetched(response.status, response.headers, {})
                body = await response.content.read(_LARGEST + 1)
                while body and len(body) <= _LARGEST and not response.content.at_eof():
                    body += await response.content.read(_LARGEST + 1 - len(body))
        except aiohttp.ClientSSLError as error:
            cause = error.os_error
            place = f"{error.host}:{error.port}"
            told = failure(place, cause) if isinstance(cause, ssl.SSLError) else cause
            raise RemoteAway(f"{host} cannot be reached: {told}") from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise RemoteAway(f"{host} cannot be reached: {str(error) or 'no answer in time'}") from None
        if len(body) > _LARGEST:
            raise RemoteAway(f"{host} answers with more than {_LARGEST} bytes")
        return Fetched(response.status, response.headers, _object(body))

    def _checked(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        if host is None or parts.scheme not in ({"https", "http"} if self._private else {"https"}):
            raise RemoteAway(f"{url[:200]} is no address that may be read: it must begin with https://")
        return host

    def _open(self, found: Any) -> socket.socket:
        family, kind, protocol, _, address = found
        reason = refusal(str(address[0]), private=self._private)
        if reason is not None:
            raise OSError(errno.EACCES, f"its address {reason}")
        return socket.socket(family=family, type=kind, proto=protocol)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
