"""The one way to a server, for MCP clients, plain REST, groups, the bridge and executions alike."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.authorization.tokens import HeldTokens
from gateway.balancing.capacity import Capacity
from gateway.metering import Meter, Outcome
from gateway.policy.policy import Policy
from gateway.policy.refusals import Refusal
from gateway.relay import Relay
from gateway.requests import RelayedRequest
from gateway.routes import LiveRoute
from mcp_platform.contracts.access import Principal
from mcp_platform.errors import InvalidRequest, PlatformError, ToolFailed
from mcp_platform.wire import INVALID_PARAMS, RpcError

_LONGEST_NAME: Final = 255


class Calls:
    """Sends a request where its slug leads, and counts it if it calls a tool."""

    def __init__(
        self, relay: Relay, meter: Meter, capacity: Capacity, policy: Policy, held: HeldTokens
    ) -> None:
        self._relay = relay
        self._held = held
        self._policy = policy
        self._capacity = capacity
        self._meter = meter

    def own_headers(self, slug: str, caller: Principal | None) -> Mapping[str, str]:
        """Give the headers that the caller's own authorization at a slug's remote server adds."""
        return self._held.headers_for(self._relay.find(slug).route, caller, {})

    async def send(self, request: RelayedRequest) -> dict[str, Any]:
        """Give the result, in the client's era.

        Raises:
            NotFound: Nothing is deployed under the slug.
            Unavailable: No replica is healthy or can be reached; or too many requests are there.
            RpcError: The server's own error, or the policy's.
            UpstreamFailed, UpstreamTimedOut: The upstream broke, or was too slow.
        """
        if request.method == "tools/call":
            _check_name((request.params or {}).get("name"))
        live, started = self._relay.find(request.slug), time.monotonic()
        try:
            if not live.upstreams:
                await self._awaken(live, request)
            if self._held.personal:
                request.headers = self._held.headers_for(live.route, request.principal, request.headers)
            if (refusal := await self._policy.admit(live, request)) is not None:
                request.error_code = InvalidRequest.code
                return refusal
            self._capacity.check_size(live.body_limit, request)
            caller = await self._capacity.enter(live.gate, request)
            request.outcome = Outcome.FAILED
            try:
                result = await self._relay.send(request)
            finally:
                self._capacity.leave(live.gate, request, caller)
            return _noted(request, await self._policy.shape(live, request, result))
        except RpcError as error:
            raise await self._refused(live, request, error) from None
        except PlatformError as error:
            request.error_code = error.code
            raise
        except asyncio.CancelledError:
            request.outcome = Outcome.CANCELLED
            raise
        finally:
            if (tool := request.tool) is not None:
                self._meter.count(request, tool, live.route, request.outcome, time.monotonic() - started)

    async def _awaken(self, live: LiveRoute, request: RelayedRequest) -> None:
        """Wait for a replica first of all: a policy may have to ask the server for its tools."""
        self._policy.check_rules(live, request)
        request.outcome = Outcome.FAILED
        await self._relay.awaken(request)
        request.outcome = Outcome.DENIED

    async def _refused(self, live: LiveRoute, request: RelayedRequest, error: RpcError) -> RpcError:
        """Note who refused a request, and give what the caller is told of it."""
        if request.outcome is Outcome.FAILED:
            request.outcome = Outcome.REFUSED
        request.error_code = error.error.code if isinstance(error, Refusal) else str(error.code)
        return await self._policy.told(live, error)


def _noted(request: RelayedRequest, result: dict[str, Any]) -> dict[str, Any]:
    request.outcome = Outcome.OK
    if result.get("isError"):
        request.outcome, request.error_code = Outcome.TOOL_ERROR, ToolFailed.code
    return result


def _check_name(name: object) -> None:
    """Refuse what is no tool's name: rules are matched against it, and the journal keeps it."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        raise RpcError(INVALID_PARAMS, f"name must be a tool's name: 1 to {_LONGEST_NAME} characters")
