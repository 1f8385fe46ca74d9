"""Asking a server that is tried what it offers, over the gateway's own kind of connection."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from uuid import uuid4

import orjson
import structlog

from activities.checks.talk import CredentialsAsked, Seen, Subject, TrialFault
from gateway.rest_upstreams.api import ApiTarget
from gateway.upstreams.exchange import CredentialsRefused, Unreachable
from gateway.upstreams.http import Http, Limits, Site
from gateway.upstreams.upstream import Target, Upstream
from mcp_platform.contracts.base import plain_json
from mcp_platform.contracts.checks import CallReport, SafeCall
from mcp_platform.contracts.deployments import Driver, UpstreamAddress
from mcp_platform.errors import PlatformError
from mcp_platform.wire import Era, RpcError, ServerDescription

_LARGEST_ANSWER: Final = 4_194_304
_MOST_PAGES: Final = 20
_MOST_TOOLS: Final = 200
_MOST_BYTES: Final = 262_144
_LONGEST_ANSWER: Final = 2_000
_LONGEST_NAME: Final = 200
_SHOWN: Final = ("name", "title", "version", "websiteUrl")
_EXPECTED: Final = (Unreachable, RpcError, PlatformError)

logger = structlog.get_logger(__name__)


@dataclass
class _Listed:
    """Tools as far as they are taken."""

    tools: list[dict[str, Any]] = field(default_factory=list)
    bytes: int = 0
    left_out: int = 0

    def take(self, tool: Any) -> None:
        """Take one, unless it is too much, or nothing that could be kept."""
        try:
            size = len(orjson.dumps(plain_json(tool)))
        except (ValueError, TypeError):
            size = _MOST_BYTES
        fits = len(self.tools) < _MOST_TOOLS and self.bytes + size <= _MOST_BYTES
        if fits and isinstance(tool, dict) and isinstance(tool.get("name"), str):
            self.tools.append(tool)
            self.bytes += size
        else:
            self.left_out += 1


class ServerTalk:
    """Talks to servers that are tried, each over a connection that is closed afterwards.

    Args:
        private: Whether remote servers may be in private networks; what we started always may.
    """

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._http: Http
        self._tasks: asyncio.TaskGroup

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        self._http = Http()
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every connection."""
        await self._tasks.__aexit__(None, None, None)
        await self._http.close()

    async def look(self, subject: Subject, call: SafeCall | None, timeout: float) -> Seen:
        """See what a server offers, and what it answers to a call.

        Raises:
            TrialFault: It does not answer as an MCP server does, or not in time.
            CredentialsAsked: It wants to know who asks.
        """
        upstream = self._upstream(subject, timeout)
        asked = ["an answer"]
        try:
            async with asyncio.timeout(timeout):
                return await self._look(upstream, subject, call, timeout, asked)
        except TimeoutError:
            raise TrialFault(f"no answer to {asked[0]} within {timeout:g} s") from None
        except CredentialsRefused as refused:
            raise CredentialsAsked(f"it asks for credentials (HTTP {refused.http_status})") from None
        except _EXPECTED as error:
            reason = _reason(error, asked[0]).replace(subject.url, subject.shown_url)
            raise TrialFault(reason, passing=isinstance(error, Unreachable)) from None
        # Whatever a strange server brings about is a reason, not an accident.
        except Exception as error:
            logger.warning("trial_talk_failed", error=type(error).__name__)
            raise TrialFault(f"it breaks the conversation at {asked[0]}: {type(error).__name__}") from None
        finally:
            await upstream.close()

    async def _look(
        self, upstream: Upstream, subject: Subject, call: SafeCall | None, timeout: float, asked: list[str]
    ) -> Seen:
        if subject.api is not None:
            asked[0] = "GET"
            await self._check_api(subject, timeout)
        asked[0] = "the handshake"
        description = await upstream.describe(timeout)
        asked[0] = "tools/list"
        listed = await _list(upstream, timeout)
        report = None
        if call is not None and subject.may_call(call.tool, listed.tools):
            asked[0] = f"the call of {call.tool}"
            report = await _call(upstream, call, timeout)
        return Seen(
            era=description.version,
            server_info=_shown(description),
            tools=listed.tools,
            left_out=listed.left_out,
            call=report,
        )

    async def _check_api(self, subject: Subject, timeout: float) -> None:
        site = Site(subject.health_url or subject.url, subject.headers, private=self._private)
        limits = Limits(timeout, timeout, _LARGEST_ANSWER)
        response = await self._http.send(site, "GET", b"", None, limits, timeout, safe=True)
        if response.body is None:
            response.close()
        if response.status >= 500:
            raise TrialFault(f"it answers GET with HTTP {response.status}")

    def _upstream(self, subject: Subject, timeout: float) -> Upstream:
        api = None
        if (known := subject.api) is not None:
            headers = dict(subject.headers)
            api = ApiTarget("trial", "0.0.0", subject.url, headers, list(known.tools), known.variables)

        async def target() -> Target:
            return Target(subject.url, dict(subject.headers), api)

        address = UpstreamAddress(replica_id=uuid4(), url=subject.url, driver=Driver.REMOTE)
        limits = Limits(timeout, timeout, _LARGEST_ANSWER)
        private = not subject.remote or self._private
        return Upstream(address, self._http, target, limits, self._spawn, private=private)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            # One server's trouble must not end the group, and with it the worker.
            try:
                await work
            except Exception as error:
                logger.warning("trial_talk_failed", error=type(error).__name__)

        self._tasks.create_task(guarded())


async def _list(upstream: Upstream, timeout: float) -> _Listed:
    listed, params = _Listed(), None
    for _ in range(_MOST_PAGES):
        page = await upstream.request("tools/list", params, Era.LEGACY, timeout)
        tools = page.get("tools")
        if not isinstance(tools, list):
            raise TrialFault("it answers tools/list without a list of tools")
        for tool in tools:
            listed.take(tool)
        cursor = page.get("nextCursor")
        if not isinstance(cursor, str) or listed.left_out:
            break
        params = {"cursor": cursor}
    return listed


async def _call(upstream: Upstream, call: SafeCall, timeout: float) -> CallReport:
    try:
        result = await upstream.request(
            "tools/call", {"name": call.tool, "arguments": call.arguments}, Era.LEGACY, timeout
        )
    except RpcError as error:
        return CallReport(tool=call.tool, ok=False, answer=_cut(error.message))
    return CallReport(tool=call.tool, ok=result.get("isError") is not True, answer=_cut(_words(result)))


def _words(result: Mapping[str, Any]) -> str:
    content = result.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    texts = [block["text"] for block in blocks if isinstance(block.get("text"), str)]
    return "\n".join(texts) or orjson.dumps(result.get("structuredContent")).decode()


def _cut(text: str, longest: int = _LONGEST_ANSWER) -> str:
    """Shorten a stranger's text, and keep what every store can hold of it."""
    return text[:longest].encode(errors="replace").decode()


def _shown(description: ServerDescription) -> dict[str, Any]:
    info = description.server_info
    return {name: _cut(info[name], _LONGEST_NAME) for name in _SHOWN if isinstance(info.get(name), str)}


def _reason(error: Exception, asked: str) -> str:
    if isinstance(error, Unreachable):
        return f"nothing answers at its address: {error}"
    return _cut(str(error), 500) or f"it breaks the connection at {asked}"
