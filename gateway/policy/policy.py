"""The policies of MCPs, applied to requests on their way: before a server is asked, and to its answer."""

import time
from typing import Any, Final
from uuid import UUID

import orjson

from gateway.listings import FAILURES
from gateway.policy.arguments import ArgumentChecks
from gateway.policy.pins import Pins
from gateway.policy.prepared import PreparedPolicy
from gateway.policy.redaction import LastingChannel, RedactedChannel, Redactor
from gateway.policy.refusals import failed_result, invalid_arguments, quarantined, unknown_tool
from gateway.policy.secrets import Redactors
from gateway.policy.table import Policies
from gateway.policy.watch import PinWatch
from gateway.requests import ClientChannel, RelayedRequest
from gateway.routes import LiveRoute
from gateway.tools import ToolList, ToolLists
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Via
from mcp_platform.errors import Unavailable, UpstreamFailed
from mcp_platform.variables import Unresolvable
from mcp_platform.wire import INVALID_PARAMS, Era, RpcError

_READING: Final = 3.0
"""Seconds that a call waits for a list of tools that nobody has read yet."""
_FRESH: Final = 1.0
"""Seconds for which a list is good enough to refuse a call by it."""
_LISTS: Final = "/list"
"""How methods end that tell what a server offers; results of all others hold what it works with."""


class Policy:
    """Says which requests go through, and what of their results."""

    def __init__(
        self, policies: Policies, tool_lists: ToolLists, watch: PinWatch, redactors: Redactors
    ) -> None:
        self._policies = policies
        self._tool_lists = tool_lists
        self._watch = watch
        self._redactors = redactors
        self._checks = ArgumentChecks()
        tool_lists.on_change(self._checks.forget)

    def visible(self, mcp_id: UUID, caller: Principal | None, tool: str) -> bool:
        """Tell whether the caller may know and call a tool of an MCP."""
        return self._policies.of(mcp_id).visible(caller, tool)

    def check_rules(self, live: LiveRoute, request: RelayedRequest) -> None:
        """Refuse a call that the rules do not allow: no server is woken for it.

        Raises:
            Refusal: They do not.
        """
        tool = request.tool
        if tool is not None:
            _check_rules(self._policies.of(live.route.mcp_id), request, tool)

    async def admit(self, live: LiveRoute, request: RelayedRequest) -> dict[str, Any] | None:
        """Let a request through, or give the result that it has without any server.

        Raises:
            Refusal: The caller may not call this tool, or it is quarantined.
            RpcError: The parameters are malformed.
            Unavailable: What governs the MCP cannot be told.
        """
        policy = self._policies.of(live.route.mcp_id)
        _check_open(policy, live.route.slug)
        if policy.redact:
            redactor = await self._redactor(policy.mcp_id, request.slug)
            if request.channel is not None:
                request.channel = RedactedChannel(request.channel, redactor)
        tool = request.tool
        if tool is None:
            return None
        if policy.selects_tools:
            await self._admit_tool(policy, live, request, tool)
        return await self._checked(request, tool) if policy.check_arguments else None

    async def shape(self, live: LiveRoute, request: RelayedRequest, result: dict[str, Any]) -> dict[str, Any]:
        """Give of a server's result what the caller may have.

        Raises:
            Refusal: The tool turned out not to be as it was pinned.
            UpstreamFailed: The result is too large, and is no tool's.
            Unavailable: It cannot be told whether the tool is as it was pinned.
        """
        policy = self._policies.of(live.route.mcp_id)
        if policy.selects_tools:
            if request.method == "tools/list":
                result = self._visible_list(policy, live, request, result)
            elif policy.pins is not None and request.tool in policy.pins:
                await self._watch.confirm(live, policy.pins, request)
                _check_pin(policy.pins, str(request.tool))
        if not policy.shapes_results:
            return result
        if policy.redact and not request.method.endswith(_LISTS):
            redactor = await self._redactor(policy.mcp_id, request.slug)
            try:
                result = redactor.value(result)
            except RecursionError:
                raise UpstreamFailed("The result is nested too deeply") from None
        return self._bounded(policy, request, result)

    def lasting(self, live: LiveRoute, channel: ClientChannel) -> LastingChannel:
        """Give a channel for what a server says outside of calls, governed for as long as it lasts."""
        mcp_id, slug = live.route.mcp_id, live.route.slug

        async def redactor() -> Redactor | None:
            policy = self._policies.of(mcp_id)
            _check_open(policy, slug)
            return await self._redactor(mcp_id, slug) if policy.redact else None

        return LastingChannel(channel, redactor)

    async def told(self, live: LiveRoute, error: RpcError) -> RpcError:
        """Give of a server's error what the caller may have: the same one, unless secrets were in it."""
        policy = self._policies.of(live.route.mcp_id)
        if not policy.redact or type(error) is not RpcError:  # the others are our own
            return error
        return (await self._redactor(policy.mcp_id, live.route.slug)).error(error)

    async def _redactor(self, mcp_id: UUID, slug: str) -> Redactor:
        try:
            return await self._redactors.of(mcp_id)
        except Unresolvable as error:
            raise Unavailable(f"Results cannot be redacted: {error}", part=slug) from None

    async def _admit_tool(
        self, policy: PreparedPolicy, live: LiveRoute, request: RelayedRequest, tool: str
    ) -> None:
        _check_rules(policy, request, tool)
        if policy.pins is not None and tool in policy.pins:
            if not policy.pins.quarantined(tool):
                await self._watch.check(live, policy.pins, request)
            _check_pin(policy.pins, tool)

    async def _checked(self, request: RelayedRequest, tool: str) -> dict[str, Any] | None:
        """Hold the arguments against the tool's schema; give the result of a call that it refuses."""
        params = request.params or {}
        arguments = params.get("arguments")
        if arguments is None:
            if "inputResponses" in params and isinstance(params.get("requestState"), str):
                return None  # it goes on with a call whose arguments the server knows
            arguments = {}
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "arguments must be an object")
        tools = self._tool_lists.known(request.slug) or await self._listed(request)
        if tools is None or not self._checks.problems(tools, tool, arguments):
            return None
        if time.monotonic() - tools.read_at > _FRESH:
            # The server may have changed its mind without telling anybody.
            self._tool_lists.forget(request.slug)
            tools = await self._listed(request)
        problems = [] if tools is None else self._checks.problems(tools, tool, arguments)
        return invalid_arguments(tool, problems, request.era) if problems else None

    async def _listed(self, request: RelayedRequest) -> ToolList | None:
        """Read the list of tools within what the call has time for; None if that fails."""
        began = time.monotonic()
        try:
            return await self._tool_lists.read(request.slug, min(_READING, request.timeout / 2))
        except FAILURES:
            return None
        finally:
            request.timeout -= time.monotonic() - began

    def _visible_list(
        self, policy: PreparedPolicy, live: LiveRoute, request: RelayedRequest, result: dict[str, Any]
    ) -> dict[str, Any]:
        listed = result.get("tools")
        if not isinstance(listed, list) or _own(request):
            return result
        named = [(str(tool.get("name")), tool) for tool in listed if isinstance(tool, dict)]
        if policy.pins is not None:
            self._watch.note(live, policy.pins, named, request.replica_id)
        tools = [tool for name, tool in named if policy.visible(request.principal, name)]
        # What one caller may see is no other's business (MCP 2026-07-28, caching).
        scope = {"cacheScope": "private"} if request.era is Era.MODERN else {}
        return {**result, "tools": tools, **scope}

    def _bounded(
        self, policy: PreparedPolicy, request: RelayedRequest, result: dict[str, Any]
    ) -> dict[str, Any]:
        most = policy.max_response_bytes
        if most is None:
            return result
        size = len(orjson.dumps(result))
        if size <= most:
            return result
        text = f"The result is too large: it has {size} bytes, and the policy allows {most}"
        if request.method != "tools/call":
            raise UpstreamFailed(text)
        return failed_result(f"{text}. Ask for less", request.era)


def _own(request: RelayedRequest) -> bool:
    """Tell whether the platform itself asks, for nobody."""
    return request.principal is None and request.via is Via.PLATFORM


def _check_open(policy: PreparedPolicy, slug: str) -> None:
    if policy.closed:
        raise Unavailable(f"The policy of {slug!r} is not understood by this gateway", part=slug)


def _check_rules(policy: PreparedPolicy, request: RelayedRequest, tool: str) -> None:
    if policy.rules is not None and not _own(request) and not policy.rules.allow(request.principal, tool):
        raise unknown_tool(tool)


def _check_pin(pins: Pins, tool: str) -> None:
    if pins.quarantined(tool):
        raise quarantined(tool, returning=pins.returning(tool))
