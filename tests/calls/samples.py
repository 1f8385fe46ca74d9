"""Calls that tests make up."""

from uuid import UUID, uuid4

from gateway.metering import Meter
from gateway.requests import RelayedRequest
from mcp_platform.contracts.access import Principal
from mcp_platform.contracts.calls import Outcome, Via
from mcp_platform.contracts.deployments import Route
from mcp_platform.wire import Era

ROUTE = Route(slug="weather", mcp_id=uuid4(), deployment_id=uuid4(), upstreams=[])


def principal(user_id: UUID | None = None) -> Principal:
    """Give a caller."""
    return Principal(
        user_id=user_id or uuid4(), username="somebody", permissions=frozenset(), credential="key:1"
    )


def count(
    meter: Meter,
    *,
    route: Route = ROUTE,
    tool: str = "forecast",
    caller: Principal | None = None,
    outcome: Outcome = Outcome.OK,
    seconds: float = 0.02,
    via: Via = Via.MCP,
    replica_id: UUID | None = None,
    request_id: str = "",
) -> None:
    """Count one call."""
    request = RelayedRequest(
        slug=route.slug,
        method="tools/call",
        params={"name": tool, "arguments": {"password": "never kept"}},
        era=Era.LEGACY,
        timeout=60.0,
        principal=caller,
        replica_id=replica_id,
        via=via,
        request_id=request_id,
    )
    meter.count(request, tool, route, outcome, seconds)
