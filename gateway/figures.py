"""The gateway's figures for Prometheus."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

CALLS: Final = Counter("mcp_platform_tool_calls", "Tool calls by outcome.", ["slug", "outcome"])
LATENCY: Final = Histogram(
    "mcp_platform_tool_call_seconds",
    "Duration of tool calls.",
    ["slug"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
ACTIVE: Final = Gauge("mcp_platform_gateway_active_requests", "Requests that wait for an upstream.")
SESSIONS: Final = Gauge("mcp_platform_gateway_sessions", "Sessions of clients of the older protocol.")
UPSTREAM_FAILURES: Final = Counter(
    "mcp_platform_upstream_failures", "Upstreams that broke, timed out or were unreachable.", ["slug", "kind"]
)
CONNECTIONS: Final = Gauge(
    "mcp_platform_upstream_connections", "Connections to servers, open and of these idle.", ["state"]
)
REPLICAS: Final = Gauge(
    "mcp_platform_gateway_replicas",
    "Replicas by state: ready, resting, ejected, open or half_open (their breaker).",
    ["slug", "state"],
)
BREAKER_OPENINGS: Final = Counter(
    "mcp_platform_breaker_openings", "Breakers that opened because a replica's calls failed.", ["slug"]
)
EJECTIONS: Final = Counter(
    "mcp_platform_ejections", "Replicas left out because they do worse than their peers.", ["slug"]
)
RETRIES: Final = Counter(
    "mcp_platform_retries", "Calls sent once more, or refused that by the retry budget.", ["slug", "outcome"]
)
HEDGES: Final = Counter("mcp_platform_hedges", "Calls sent to a second replica as well.", ["slug"])
QUEUED: Final = Gauge("mcp_platform_gateway_queued_requests", "Requests that wait for a place.")
OVERLOADED: Final = Counter(
    "mcp_platform_gateway_refused_requests", "Requests refused because too many were there.", ["reason"]
)
FIGURES_UNWRITTEN: Final = Gauge(
    "mcp_platform_gateway_unwritten_calls", "Calls whose figures have not been written yet."
)
CALLS_LOST: Final = Counter(
    "mcp_platform_gateway_calls_not_journaled",
    "Calls without a line in the journal, because the database was away for too long.",
)
