"""How commands talk to the platform's API: where it is, who they are, and what its errors mean."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

import httpx

from mcp_platform.cli.data_dir import admin_password
from mcp_platform.cli.failure import Failure
from mcp_platform.cli.record import read_record
from mcp_platform.settings import Settings

URL_VARIABLE: Final = "MCP_PLATFORM_URL"
KEY_VARIABLE: Final = "MCP_PLATFORM_API_KEY"
_TIMEOUT: Final = 30.0
_STREAM_TIMEOUT: Final = 30.0
"""Seconds of silence after which a stream is dead: the API sends a comment more often."""


class Event(NamedTuple):
    """An event of a stream."""

    kind: str
    data: dict[str, Any]
    id: str


class ApiClient:
    """The API, for one command. Every failure is a `Failure` in words.

    Args:
        http: A client of the API's address.
        sign_in: Name and password, where there is no key.
    """

    def __init__(self, http: httpx.AsyncClient, sign_in: tuple[str, str] | None) -> None:
        self._http = http
        self._sign_in = sign_in

    async def get(self, path: str, **asked: Any) -> dict[str, Any]:
        """Read."""
        return await self._ask("GET", path, params=asked)

    async def post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask for something to be done."""
        return await self._ask("POST", path, json=body)

    async def begin(self) -> None:
        """Sign in, unless there is a key."""
        if self._sign_in is not None:
            name, password = self._sign_in
            pair = await self.post("/api/v1/auth/login", {"username": name, "password": password})
            self._http.headers["Authorization"] = f"Bearer {pair['access_token']}"

    async def end(self) -> None:
        """Sign out again, as far as that is possible."""
        if self._sign_in is not None:
            with suppress(Failure):
                await self.post("/api/v1/auth/logout")

    async def renew(self) -> bool:
        """Sign in anew, if this is a session that has ended; tell whether it is one."""
        if self._sign_in is None:
            return False
        await self.begin()
        return True

    async def events(self, path: str, asked: dict[str, Any], last_id: str | None) -> AsyncIterator[Event]:
        """Read a stream's events, until it ends.

        Raises:
            httpx.HTTPError: The connection broke.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx.Timeout(_TIMEOUT, read=_STREAM_TIMEOUT)
        async with self._http.stream("GET", path, params=asked, headers=headers, timeout=timeout) as answer:
            if answer.is_error:
                await answer.aread()
                raise self._failure("GET", path, answer)
            fields: dict[str, str] = {}
            async for line in _lines(answer):
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                if "data" in fields:
                    yield Event(fields.get("event", ""), json.loads(fields["data"]), fields.get("id", ""))
                elif "id" in fields:
                    yield Event("", {}, fields["id"])
                fields = {}

    async def _ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from None
        if answer.is_error:
            raise self._failure(method, path, answer)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError:
            raise Failure(f"{self._http.base_url} answered {method} {path} without JSON") from None
        return found

    def unreachable(self, error: httpx.HTTPError) -> Failure:
        """Say that nobody answers."""
        reason = str(error) or type(error).__name__
        return Failure(
            f"the platform at {self._http.base_url} does not answer ({reason});"
            f" start it with: mcp-platform up, or correct --url or {URL_VARIABLE}"
        )

    def _failure(self, method: str, path: str, answer: httpx.Response) -> Failure:
        try:
            body = answer.json()
        except ValueError:
            return Failure(f"{self._http.base_url} answered {method} {path} with {answer.status_code}")
        detail = body.get("detail")
        if isinstance(detail, list):
            detail = "; ".join(f"{'.'.join(map(str, each['loc'][1:]))} {each['msg']}" for each in detail)
        return Failure(f"{detail}{_advice(answer.status_code, body)}")


def _advice(status: int, body: dict[str, Any]) -> str:
    match status:
        case 401:
            return f"; set {KEY_VARIABLE} to a key of yours that holds"
        case 403:
            return f"; the credential needs {body.get('required_permission', 'another permission')}"
        case 404:
            return "; mcp-platform deployments list --all shows those that there are"
        case 429 | 503:
            return f"; try again in {body.get('retry_after', 2)} s"
    return ""


async def _lines(answer: httpx.Response) -> AsyncIterator[str]:
    """Split at line feeds only: a log line may hold any other character that ends a line somewhere."""
    rest = b""
    async for piece in answer.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")


@asynccontextmanager
async def api_client(settings: Settings, url: str | None) -> AsyncIterator[ApiClient]:
    """Open a client of the API, with a credential.

    The address is the one that was given, or that of the platform which runs on the data directory. To
    that one, and only to it, the administrator's password is sent, if there is no key.

    Raises:
        Failure: There is no address, no credential, or the credential is refused.
    """
    record = read_record(settings.data_dir)
    given = url or os.environ.get(URL_VARIABLE)
    address = given or (record.api if record else None)
    if address is None:
        raise Failure(
            f"no platform runs on {settings.data_dir.absolute()}; give its address with --url or"
            f" {URL_VARIABLE}, or start one with: mcp-platform up"
        )
    if not address.startswith(("http://", "https://")):
        raise Failure(f"{address!r} is no address; write it as in http://127.0.0.1:8000")
    key = os.environ.get(KEY_VARIABLE)
    if not key and given:
        raise Failure(
            f"set {KEY_VARIABLE} to an API key for {address} (POST /api/v1/auth/api-keys makes one)"
        )
    sign_in = None if key else (settings.admin.username, admin_password(settings))
    headers = {"X-API-Key": key} if key else {}
    async with httpx.AsyncClient(
        base_url=address, timeout=_TIMEOUT, trust_env=False, headers=headers
    ) as http:
        client = ApiClient(http, sign_in)
        await client.begin()
        try:
            yield client
        finally:
            await client.end()
