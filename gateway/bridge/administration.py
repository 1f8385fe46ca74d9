"""What administrators change: the configuration, instances, and connections."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gateway.bridge.describing import Describing, instance_id
from gateway.bridge.envelope import Refusal, read_order
from gateway.bridge.routing import Question
from gateway.bridge.running import RunningConfig
from gateway.routes import RouteTable
from gateway.upstreams.http import Http
from mcp_platform.contracts.audit import AuditEvent, AuditOutcome
from mcp_platform.contracts.bridge import (
    BridgeConfig,
    ConfigChange,
    ConnectionsChanged,
    InstanceChanged,
    WeightChange,
)
from mcp_platform.errors import Unavailable
from mcp_platform.names import Channel
from storage.cache import listen
from storage.sql.audit import AuditLog
from storage.sql.services import ReplicaPlace, ServiceRecord
from storage.stores import Rows, Stores

log = structlog.get_logger(__name__)

_RESET: Final = "reset"
_CLEANUP: Final = "cleanup"


class Administration:
    """Changes what every gateway process goes by; no change is made that the audit log does not know.

    Args:
        gateway_id: Tells this process from others.
    """

    def __init__(
        self,
        gateway_id: str,
        stores: Stores,
        audit: AuditLog,
        routes: RouteTable,
        describing: Describing,
        running: RunningConfig,
        http: Http,
    ) -> None:
        self._id = gateway_id
        self._stores = stores
        self._audit = audit
        self._routes = routes
        self._describing = describing
        self._running = running
        self._http = http

    async def config(self, _question: Question) -> BridgeConfig:
        """Give the configuration."""
        return self._running.present

    async def change_config(self, question: Question) -> BridgeConfig:
        """Change the configuration: in this process before the answer, in the others at once."""
        change = read_order(ConfigChange, question.body)
        given = change.model_dump(mode="json", by_alias=True, exclude_none=True)
        event = _event(question, "gateway.change_config", "configuration", "bridge", {"changed": given})
        async with self._audit.recording([event]) as session:
            await self._running.set(Rows(session), change, question.principal.user_id)
        return await self._running.changed()

    async def offline(self, question: Question) -> InstanceChanged:
        """Take an instance out of rotation: calls in flight end, and no new one goes there."""
        return await self._rotate(question, True)

    async def online(self, question: Question) -> InstanceChanged:
        """Put an instance back."""
        return await self._rotate(question, False)

    async def weigh(self, question: Question) -> InstanceChanged:
        """Set how much of the calls an instance gets, against the others of its service."""
        weight = read_order(WeightChange, question.body).weight
        record, place = await self._place(question)
        event = _placed(question, record, place, "gateway.change_weight", {"weight": weight})
        async with self._audit.recording([event]) as session:
            await Rows(session).overrides.set_weight(place.replica_id, weight)
        await self._changed(record)
        return InstanceChanged(
            service_name=record.slug,
            instance_id=question.names["instanceId"],
            offline=place.offline,
            weight=weight,
        )

    async def reset(self, question: Question) -> ConnectionsChanged:
        """Drop and reopen every pooled connection, in every process."""
        return await self._order(question, _RESET, self._reset)

    async def cleanup(self, question: Question) -> ConnectionsChanged:
        """Drop the connections that are dead, in every process."""
        return await self._order(question, _CLEANUP, self._cleanup)

    async def follow(self) -> None:
        """Do with this process's connections what another one was asked; runs until cancelled."""
        orders = {_RESET: self._reset, _CLEANUP: self._cleanup}
        async for message in listen(self._stores.cache, Channel.CONNECTIONS):
            order = orders.get(str(message.data.get("order")))
            if order is None or message.data.get("gateway_id") == self._id:
                continue
            try:
                closed, opened = await order()
            except Exception:
                log.exception("connections_not_changed", order=message.data.get("order"))
            else:
                log.info("connections_changed", **message.data, closed=closed, opened=opened)

    async def _rotate(self, question: Question, offline: bool) -> InstanceChanged:
        record, place = await self._place(question)
        action = "gateway.take_offline" if offline else "gateway.put_online"
        async with self._audit.recording([_placed(question, record, place, action, {})]) as session:
            await Rows(session).overrides.set_offline(place.replica_id, offline)
        await self._changed(record)
        return InstanceChanged(
            service_name=record.slug,
            instance_id=question.names["instanceId"],
            offline=offline,
            weight=place.weight,
        )

    async def _place(self, question: Question) -> tuple[ServiceRecord, ReplicaPlace]:
        """Find the instance that the path names, by its name or by its replica's id."""
        record = await self._describing.record(question.principal, question.names["serviceName"])
        wanted = question.names["instanceId"]
        for place in record.places:
            if wanted in (instance_id(record.slug, place.ordinal), str(place.replica_id)):
                return record, place
        details = {"serviceName": record.slug, "instanceId": wanted}
        raise Refusal("SERVICE_NOT_FOUND", 404, f"No such instance of {record.slug}: {wanted}", details)

    async def _changed(self, record: ServiceRecord) -> None:
        await self._routes.refresh(record.slug)
        await self._stores.publish(Channel.ROUTES, {"slug": record.slug})

    async def _order(
        self, question: Question, order: str, work: Callable[[], Awaitable[tuple[int, int]]]
    ) -> ConnectionsChanged:
        await self._audit.append([_event(question, f"gateway.{order}_connections", "connections", "", {})])
        await self._stores.publish(Channel.CONNECTIONS, {"order": order, "gateway_id": self._id})
        closed, opened = await work()
        log.info("connections_changed", order=order, closed=closed, opened=opened)
        others: set[str] = set()
        with suppress(Unavailable):  # then nobody was told
            others = {each.gateway_id for each in await self._stores.loads.read()} - {self._id}
        return ConnectionsChanged(closed=closed, opened=opened, gateways=1 + len(others))

    async def _reset(self) -> tuple[int, int]:
        return await self._http.reset(self._running.present.connection_pool.connection_timeout / 1000)

    async def _cleanup(self) -> tuple[int, int]:
        return self._http.clean_up(), 0


def _placed(
    question: Question, record: ServiceRecord, place: ReplicaPlace, action: str, details: dict[str, Any]
) -> AuditEvent:
    named = {"service": record.slug, "place": place.ordinal, **details}
    return _event(question, action, "replica", str(place.replica_id), named)


def _event(question: Question, action: str, kind: str, number: str, details: dict[str, Any]) -> AuditEvent:
    principal = question.principal
    return AuditEvent(
        at=datetime.now(UTC),
        actor_id=principal.user_id,
        actor_name=principal.username,
        credential=principal.credential,
        action=action,
        resource_type=kind,
        resource_id=number,
        address=question.address,
        outcome=AuditOutcome.SUCCESS,
        status=200,
        request_id=question.request_id,
        details=details,
    )
