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
FIGURES_UNWRITTEN: Final = Gauge(
    "mcp_platform_gateway_unwritten_calls", "Calls whose figures have not been written yet."
)
