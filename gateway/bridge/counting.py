"""Figures: of all processes where they add up, and of this one where they are its own view."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from gateway.bridge.describing import instance_id
from gateway.bridge.envelope import VERSION, Refusal, service_missing
from gateway.bridge.finding import Finder
from gateway.bridge.routing import Question
from gateway.bridge.running import RunningConfig
from gateway.metering import Meter
from gateway.routes import LiveRoute, RouteTable
from mcp_platform.contracts.bridge_figures import (
    BalancedInstance,
    BalancedService,
    BalancingAnswer,
    ConnectionCounts,
    ConnectionsStatus,
    GatewayConnections,
    PerformanceStats,
    RequestStats,
    ServiceStats,
    Stats,
    SystemStats,
    TimeRange,
    ToolMetrics,
    ToolMetricsAnswer,
)
from mcp_platform.contracts.loads import LoadReport
from mcp_platform.errors import Unavailable
from storage.sql.call_sums import CallSum
from storage.sql.services import ServiceRecord
from storage.stores import Stores

log = structlog.get_logger(__name__)

_PERFORMANCE: Final = timedelta(hours=24)


class Counting:
    """Answers what was called, and how it went.

    Args:
        report: Makes this process's own report, as it is now.
    """

    def __init__(
        self,
        stores: Stores,
        routes: RouteTable,
        finder: Finder,
        meter: Meter,
        running: RunningConfig,
        report: Callable[[], LoadReport],
    ) -> None:
        self._stores = stores
        self._routes = routes
        self._finder = finder
        self._meter = meter
        self._running = running
        self._report = report

    async def stats(self, _question: Question) -> Stats:
        """Sum up what all processes count; the other ones' last seconds may be missing."""
        await self._meter.flush()
        now = datetime.now(UTC)
        async with self._stores.read() as rows:
            ever = await rows.tool_figures.ever()
            late = await rows.tool_figures.together(now, _PERFORMANCE)
        reports = await self._reports()
        started_at = min((each.started_at for each in reports if each.started_at), default=now)
        routes = self._routes.all
        healthy = sum(bool(live.upstreams) or live.route.asleep for live in routes)
        return Stats(
            system=SystemStats(
                status="RUNNING", version=VERSION, uptime=_uptime(now - started_at), start_time=started_at
            ),
            requests=RequestStats(**_requests(ever)),
            performance=PerformanceStats(
                avg_response_time=_average(late),
                p95_response_time=late.histogram.quantile(0.95) or 0.0,
                p99_response_time=late.histogram.quantile(0.99) or 0.0,
                active_requests=sum(sum(each.replicas.values()) for each in reports),
            ),
            services=ServiceStats(registered=len(routes), healthy=healthy, unhealthy=len(routes) - healthy),
            connections=_together(reports),
        )

    async def connections(self, _question: Question) -> ConnectionsStatus:
        """Tell what connections to servers there are, by process and together."""
        reports = await self._reports()
        return ConnectionsStatus(
            connections=_together(reports),
            gateways=[
                GatewayConnections(gateway_id=each.gateway_id, **_counts(each))
                for each in sorted(reports, key=lambda each: each.gateway_id)
            ],
        )

    async def tools(self, question: Question) -> ToolMetricsAnswer:
        """Tell what was counted of each tool that the caller may know, by all processes."""
        window = _window(question.query.get("timeRange"))
        live = {each.route.mcp_id: each for each in self._finder.visible(question.principal)}
        await self._meter.flush()
        async with self._stores.read() as rows:
            found = await rows.tool_figures.tools(
                datetime.now(UTC), window.length, list(live), question.query.get("toolName")
            )
        metrics = [
            ToolMetrics(
                tool_name=tool,
                service_name=live[mcp_id].route.slug,
                **_requests(each),
                avg_response_time=_average(each),
                **{
                    f"p{share}_response_time": each.histogram.quantile(share / 100) or 0.0
                    for share in (50, 95, 99)
                },
            )
            for (mcp_id, tool), each in found.items()
            if self._finder.may_know(question.principal, live[mcp_id], tool)
        ]
        metrics.sort(key=lambda each: (-each.total, each.service_name, each.tool_name))
        return ToolMetricsAnswer(time_range=window, tools=metrics, total=len(metrics))

    async def balancing(self, question: Question) -> BalancingAnswer:
        """Tell how calls are spread, and how each instance fares, as this process sees it."""
        name = question.query.get("serviceName")
        live = [each for each in self._finder.visible(question.principal) if name in (None, each.route.slug)]
        if name is not None and not live:
            raise service_missing(name)
        async with self._stores.read() as rows:
            records = {each.slug: each for each in await rows.services.list(name)}
        services = []
        for each in live:
            record = records.get(each.route.slug)
            instances = [] if record is None else _balanced(each, record)
            services.append(
                BalancedService(
                    service_name=each.route.slug, algorithm=each.balancer.algorithm, instances=instances
                )
            )
        return BalancingAnswer(algorithm=self._running.present.load_balancer.algorithm, services=services)

    async def _reports(self) -> list[LoadReport]:
        """Give what all living processes say; while the cache is away, what this one does."""
        own = self._report()
        try:
            found = await self._stores.loads.read()
        except Unavailable as error:
            log.warning("reports_not_read", error=str(error))
            found = []
        return [own, *(each for each in found if each.gateway_id != own.gateway_id)]


def _balanced(live: LiveRoute, record: ServiceRecord) -> list[BalancedInstance]:
    """Describe the places by what this process sees; those that were taken offline, it does not."""
    seen = {one.replica_id: one for one in live.state()}
    found = []
    for place in record.places:
        one = seen.get(place.replica_id)
        if one is None and not place.offline:
            continue
        found.append(
            BalancedInstance(
                instance_id=instance_id(record.slug, place.ordinal),
                state="offline" if one is None or place.offline else one.state.value,
                weight=place.weight if one is None else one.weight,
                active_requests=0 if one is None else one.active,
                calls=0 if one is None else one.calls,
                error_rate=0.0 if one is None else round(one.error_rate * 100, 2),
                avg_response_time=0.0 if one is None else round(one.latency_ms, 3),
            )
        )
    return found


def _window(text: str | None) -> TimeRange:
    try:
        return TimeRange(text or TimeRange.HOUR)
    except ValueError:
        allowed = ", ".join(TimeRange)
        details = {"field": "timeRange"}
        raise Refusal("INVALID_REQUEST", 400, f"timeRange: one of {allowed}", details) from None


def _requests(calls: CallSum) -> dict[str, Any]:
    good = calls.requests - calls.errors
    rate = round(good / calls.requests * 100, 2) if calls.requests else 0.0
    return {"total": calls.requests, "success": good, "failed": calls.errors, "success_rate": rate}


def _average(calls: CallSum) -> float:
    return round(calls.latency_ms / calls.requests, 3) if calls.requests else 0.0


def _counts(report: LoadReport) -> dict[str, int]:
    pool = report.pool
    return {
        "active": pool.open - pool.idle,
        "idle": pool.idle,
        "total": pool.open,
        "max_pool_size": pool.most,
    }


def _together(reports: list[LoadReport]) -> ConnectionCounts:
    each = [_counts(report) for report in reports]
    names = ("active", "idle", "total", "max_pool_size")
    return ConnectionCounts(**{name: sum(one[name] for one in each) for name in names})


def _uptime(length: timedelta) -> str:
    minutes = int(length.total_seconds()) // 60
    return f"{minutes // 1440}d {minutes // 60 % 24}h {minutes % 60}m"
