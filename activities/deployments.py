"""Bringing replicas up, watching them and taking them down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.drivers import Probe, ReplicaDriver, ReplicaFault, ReplicaSpec, RunningReplica
from activities.heartbeat import beating
from mcp_platform.contracts.deployments import (
    DeploymentReport,
    DeploymentState,
    Driver,
    Replica,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
    ReplicaState,
)
from mcp_platform.contracts.events import Event, EventType
from mcp_platform.contracts.mcps import McpConfig, ServerConfig
from mcp_platform.names import Channel, Collection
from mcp_platform.variables import Mask, Unresolvable, Variables, references

if TYPE_CHECKING:
    from storage.secrets import SecretValues
    from storage.stores import Stores

logger = structlog.get_logger(__name__)

_FIRST_CHECKS_EVERY = 0.1
_SILENT_START = 3.0
"""Seconds after which a start that takes longer says why."""


class DeploymentActivities:
    """The steps of a deployment's life; each may be repeated."""

    def __init__(
        self,
        stores: Stores,
        drivers: Mapping[Driver, ReplicaDriver],
        probe: Probe,
        secrets: SecretValues,
    ) -> None:
        self._stores = stores
        self._drivers = drivers
        self._probe = probe
        self._secrets = secrets

    @activity.defn(name="deployments.bring_up")
    async def bring_up(self, order: ReplicaOrder) -> ReplicaOutcome:
        """Start the replica unless it runs already, and wait until it answers or its patience ends."""
        async with beating():
            mask = Mask()
            try:
                await self._begin(order)
                driver = self._driver(order.driver)
                spec = await self._spec(order)
                mask = spec.mask
                running = await driver.ensure_running(spec)
            except ReplicaFault as fault:
                reason = mask.text(str(fault))
                await self._lose(order, reason, mask.lines(fault.stderr_tail))
                return ReplicaOutcome(healthy=False, reason=reason)
            silence = await self._first_answer(order, running)
            if silence is None:
                await self._put(order, ReplicaState.HEALTHY, running)
                return ReplicaOutcome(healthy=True)
            reason, tail = running.mask.text(silence), running.mask.lines(running.stderr_tail)
            await driver.ensure_absent(order.replica_id)
            await self._lose(order, reason, tail)
            return ReplicaOutcome(healthy=False, reason=reason)

    @activity.defn(name="deployments.watch")
    async def watch(self, order: ReplicaOrder) -> ReplicaLost:
        """Check the replica again and again; return, with the reason, once it is lost."""
        async with beating():
            driver = self._driver(order.driver)
            try:
                running = await driver.find(await self._spec(order))
            except ReplicaFault as fault:
                running, reason = None, str(fault)
            else:
                reason = "its process ended together with the worker that had started it"
            tail: list[str] = []
            if running is not None:
                reason = running.mask.text(await self._until_lost(order, running))
                tail = running.mask.lines(running.stderr_tail)
            # Routed around at once, before the workflow has even heard of it.
            await self._lose(order, reason, tail)
            # It may hang and not be dead; and what it started may live on without it.
            await driver.ensure_absent(order.replica_id)
            return ReplicaLost(reason=reason)

    @activity.defn(name="deployments.take_down")
    async def take_down(self, order: ReplicaOrder) -> None:
        """End the replica; finding none is success."""
        async with beating():
            async with self._stores.write() as rows:
                slug = await rows.deployments.stop_replica(order.replica_id)
            if slug:
                await self._stores.publish(Channel.ROUTES, {"slug": slug})
            await self._driver(order.driver).ensure_absent(order.replica_id)

    @activity.defn(name="deployments.record")
    async def record(self, report: DeploymentReport) -> bool:
        """Write down what is true of the deployment, and tell the gateways and the listeners.

        False if the deployment is not wanted any more: it was stopped before its workflow began.
        """
        async with self._stores.write() as rows:
            deployment = await rows.deployments.report(report)
        if deployment is None:
            return False
        await self._stores.publish(Channel.ROUTES, {"slug": deployment.slug})
        data = report.model_dump(mode="json", exclude={"slug"})
        if report.status is DeploymentState.STOPPED:
            data["stopped_at"] = deployment.stopped_at and deployment.stopped_at.isoformat()
        event = Event(
            type=EventType.DEPLOYMENT_STATUS,
            owner_id=deployment.owner_id,
            data={**data, "tool_id": str(deployment.mcp_id), "tool_name": deployment.tool_name},
        )
        await self._stores.publish(Channel.EVENTS, event)
        logger.info("deployment_status", slug=deployment.slug, status=report.status, reason=report.reason)
        return deployment.status is not DeploymentState.STOPPED

    async def _first_answer(self, order: ReplicaOrder, running: RunningReplica) -> str | None:
        """None once the replica answered; else why it did not."""
        exited = asyncio.create_task(running.exited())
        answered = asyncio.create_task(self._until_healthy(order, running))
        try:
            async with asyncio.timeout(order.patience + 1.0):
                await asyncio.wait({exited, answered}, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            return f"it did not answer within {order.patience:g} s"
        finally:
            exited.cancel()
            answered.cancel()
        return exited.result() if exited.done() and not exited.cancelled() else answered.result()

    async def _until_healthy(self, order: ReplicaOrder, running: RunningReplica) -> str | None:
        loop = asyncio.get_running_loop()
        started, noted = loop.time(), ""
        while True:
            try:
                await self._probe.check(running.url, running.headers, order.check_timeout)
            except ReplicaFault as fault:
                waited = loop.time() - started
                if waited >= order.patience:
                    return f"it did not answer within {order.patience:g} s: {fault}"
                if waited >= _SILENT_START and noted != running.mask.text(str(fault)):
                    noted = running.mask.text(str(fault))
                    async with self._stores.write() as rows:
                        await rows.deployments.note_replica(order.replica_id, f"no answer yet: {noted}")
                await asyncio.sleep(_FIRST_CHECKS_EVERY)
            else:
                return None

    async def _until_lost(self, order: ReplicaOrder, running: RunningReplica) -> str:
        exited = asyncio.create_task(running.exited())
        failures = 0
        try:
            while True:
                await asyncio.wait({exited}, timeout=order.check_interval)
                if exited.done():
                    return exited.result()
                try:
                    await self._probe.check(running.url, running.headers, order.check_timeout)
                except ReplicaFault as fault:
                    failures += 1
                    if failures >= order.failures_allowed and not exited.done():
                        return f"{failures} checks in a row failed: {fault}"
                else:
                    failures = 0
                    await self._stores.stamps.seen(order.deployment_id, order.replica_id, datetime.now(UTC))
        finally:
            exited.cancel()

    def _driver(self, kind: Driver) -> ReplicaDriver:
        try:
            return self._drivers[kind]
        except KeyError:
            raise ReplicaFault(
                f"the {kind} driver is off; an administrator can turn it on with"
                f" MCP_PLATFORM_REPLICAS__{kind.upper()}_DRIVER=true"
            ) from None

    async def _spec(self, order: ReplicaOrder) -> ReplicaSpec:
        async with self._stores.read() as rows:
            deployment = await rows.deployments.get(order.deployment_id)
        body = deployment and await self._stores.documents.get(Collection.CONFIGS, deployment.config_key)
        if deployment is None or body is None:
            raise ApplicationError(
                f"deployment {order.deployment_id} has no record", type="RecordMissing", non_retryable=True
            )
        server = McpConfig.model_validate(body).server(deployment.config.server)
        try:
            variables = await self._secrets.variables(deployment.mcp_id, references(server.model_dump()))
            resolved = _resolve(server, variables)
        except Unresolvable as unknown:
            raise ReplicaFault(str(unknown)) from None
        return ReplicaSpec(order.replica_id, resolved, order.patience, server.url, variables.mask)

    async def _begin(self, order: ReplicaOrder) -> None:
        """Record the attempt, still showing why the one before failed."""
        async with self._stores.write() as rows:
            before = await rows.deployments.get_replica(order.replica_id)
            await rows.deployments.put_replica(
                Replica(
                    id=order.replica_id,
                    deployment_id=order.deployment_id,
                    ordinal=order.ordinal,
                    state=ReplicaState.STARTING,
                    restarts=order.restarts,
                    reason=before.reason if before else None,
                    stderr_tail=before.stderr_tail if before else [],
                    started_at=datetime.now(UTC),
                )
            )

    async def _put(self, order: ReplicaOrder, state: ReplicaState, running: RunningReplica) -> None:
        now = datetime.now(UTC)
        async with self._stores.write() as rows:
            await rows.deployments.put_replica(
                Replica(
                    id=order.replica_id,
                    deployment_id=order.deployment_id,
                    ordinal=order.ordinal,
                    state=state,
                    url=running.shown_url,
                    pid=running.pid,
                    restarts=order.restarts,
                    started_at=now,
                )
            )
            deployment = await rows.deployments.get(order.deployment_id)
        await self._stores.stamps.seen(order.deployment_id, order.replica_id, now)
        if deployment:
            await self._stores.publish(Channel.ROUTES, {"slug": deployment.slug})

    async def _lose(self, order: ReplicaOrder, reason: str, tail: list[str]) -> None:
        """Record that the replica is not healthy, unless it is being taken down anyway."""
        async with self._stores.write() as rows:
            slug = await rows.deployments.lose_replica(order.replica_id, reason, tail)
        if slug:
            await self._stores.publish(Channel.ROUTES, {"slug": slug})


def _resolve(server: ServerConfig, variables: Variables) -> ServerConfig:
    """Give the same server with every `${NAME}` replaced."""
    return server.model_copy(
        update={
            "url": server.url and variables.resolve(server.url),
            "headers": variables.resolve_headers(server.headers),
            "command": server.command and variables.resolve(server.command),
            "args": [variables.resolve(arg) for arg in server.args],
            "env": variables.resolve_all(server.env),
            "cwd": server.cwd and variables.resolve(server.cwd),
        }
    )
