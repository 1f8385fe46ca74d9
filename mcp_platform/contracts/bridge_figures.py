"""What the bridge answers of its figures: times in ms, rates in percent."""

from datetime import timedelta
from enum import StrEnum

from mcp_platform.contracts.balancing import Algorithm
from mcp_platform.contracts.bridge import BridgeAnswer, BridgeMoment


class ConnectionCounts(BridgeAnswer):
    """Connections to servers, of all gateway processes together."""

    active: int
    idle: int
    total: int
    max_pool_size: int


class GatewayConnections(ConnectionCounts):
    """The same of one process."""

    gateway_id: str


class ConnectionsStatus(BridgeAnswer):
    """Answer to `GET /mcp/bridge/connections/status`."""

    connections: ConnectionCounts
    gateways: list[GatewayConnections]


class SystemStats(BridgeAnswer):
    """Since when the platform's gateways have been serving."""

    status: str
    version: str
    uptime: str
    start_time: BridgeMoment


class RequestStats(BridgeAnswer):
    """All calls of tools that were ever counted; the rate in percent."""

    total: int
    success: int
    failed: int
    success_rate: float


class PerformanceStats(BridgeAnswer):
    """How long the calls of the last 24 hours took."""

    avg_response_time: float
    p95_response_time: float
    p99_response_time: float
    active_requests: int


class ServiceStats(BridgeAnswer):
    """How many services there are."""

    registered: int
    healthy: int
    unhealthy: int


class Stats(BridgeAnswer):
    """Answer to `GET /mcp/bridge/stats`."""

    system: SystemStats
    requests: RequestStats
    performance: PerformanceStats
    services: ServiceStats
    connections: ConnectionCounts


class TimeRange(StrEnum):
    """How far back the figures of tools go."""

    HOUR = "1h"
    SIX_HOURS = "6h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return timedelta(hours={"1h": 1, "6h": 6, "24h": 24, "7d": 168}[self.value])


class ToolMetrics(RequestStats):
    """What was counted of one tool."""

    tool_name: str
    service_name: str
    avg_response_time: float
    p50_response_time: float
    p95_response_time: float
    p99_response_time: float


class ToolMetricsAnswer(BridgeAnswer):
    """Answer to `GET /mcp/bridge/metrics/tools`."""

    time_range: TimeRange
    tools: list[ToolMetrics]
    total: int


class BalancedInstance(BridgeAnswer):
    """A replica, as this gateway process sees it."""

    instance_id: str
    state: str
    weight: float
    active_requests: int
    calls: int
    """Of the last seconds, as are the next two."""
    error_rate: float
    """In percent."""
    avg_response_time: float


class BalancedService(BridgeAnswer):
    """How the calls of one service are spread."""

    service_name: str
    algorithm: Algorithm
    instances: list[BalancedInstance]


class BalancingAnswer(BridgeAnswer):
    """Answer to `GET /mcp/bridge/metrics/loadbalancing`."""

    algorithm: Algorithm
    services: list[BalancedService]
