"""Bringing replicas up, watching them and taking them down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from temporalio import activity

from activities.deployments.health import Health
from activities.deployments.specs import Specs
from activities.drivers import DriverUnavailable, ReplicaDriver, ReplicaFault, ReplicaSpec, RunningReplica
from activities.heartbeat import beating
from mcp_platform.contracts.deployments import (
    Driver,
    Replica,
    ReplicaLost,
    ReplicaOrder,
    ReplicaOutcome,
    ReplicaState,
)
from mcp_platform.errors import Unavailable
from mcp_platform.last_words import last_words
from mcp_platform.names import Channel
from mcp_platform.variables import Mask

if TYPE_CHECKING:
    from storage.stores import Stores

_ASKED_AGAIN_AFTER = 0.5
"""Seconds between two attempts to reach what runs replicas."""
_DRAINED_AGAIN_AFTER = 0.1


class _DriverOff(ReplicaFault):
    """What runs the replica was turned off since it was deployed."""


class ReplicaActivities:
    """The steps of a replica's life; each may be repeated."""

    def __init__(
        self, stores: Stores, drivers: Mapping[Driver, ReplicaDriver], specs: Specs, health: Health
    ) -> None:
        self._stores = stores
        self._drivers = drivers
        self._specs = specs
        self._health = health

    @activity.defn(name="deployments.bring_up")
    async def bring_up(self, order: ReplicaOrder) -> ReplicaOutcome:
        """Start the replica unless it runs already, and wait until it answers or its patience ends."""
        async with beating():
            mask = Mask()
            try:
                await self._begin(order)
                driver = self._driver(order.driver)
                spec = await self._specs.of(order)
                mask = spec.mask
                running = await self._started(driver, spec, order)
            except ReplicaFault as fault:
                reason, tail = mask.text(str(fault)), mask.lines(fault.stderr_tail)
                await self._lose(order, reason, tail)
                away = isinstance(fault, DriverUnavailable)
                words = last_words(tail)
                return ReplicaOutcome(healthy=False, reason=reason, unavailable=away, last_words=words)
            silence = await self._health.first_answer(order, running)
            if silence is None:
                await self._put(order, running)
                return ReplicaOutcome(healthy=True)
            told = await running.silence()
            reason = running.mask.text(f"{told}; {silence}" if told else silence)
            tail = running.mask.lines(running.stderr_tail)
            with suppress(DriverUnavailable):
                await driver.ensure_absent(order.replica_id)
            await self._lose(order, reason, tail)
            return ReplicaOutcome(healthy=False, reason=reason, last_words=last_words(tail))

    @activity.defn(name="deployments.watch")
    async def watch(self, order: ReplicaOrder) -> ReplicaLost:
        """Check the replica again and again; return, with the reason, once it is lost."""
        async with beating():
            mask = Mask()
            tail: list[str] = []
            try:
                driver = self._driver(order.driver)
                spec = await self._specs.of(order)
                mask = spec.mask
                running = await driver.find(spec)
            except ReplicaFault as fault:
                running, reason = None, mask.text(str(fault))
                tail = mask.lines(fault.stderr_tail)
            else:
                reason = "it ended while no worker watched it"
            if running is not None:
                reason = running.mask.text(await self._health.until_lost(order, running))
                tail = running.mask.lines(running.stderr_tail)
            # Routed around at once, before the workflow has even heard of it.
            await self._lose(order, reason, tail)
            # It may hang and not be dead; and what it started may live on without it.
            with suppress(DriverUnavailable, _DriverOff):
                await self._ensure_absent(order)
            return ReplicaLost(reason=reason, last_words=last_words(tail))

    @activity.defn(name="deployments.take_down")
    async def take_down(self, order: ReplicaOrder) -> None:
        """Let the calls in flight finish, within bounds, and end the replica; finding none is success."""
        async with beating():
            async with self._stores.write() as rows:
                slug = await rows.deployments.drain_replica(order.replica_id)
            if slug:
                await self._stores.publish(Channel.ROUTES, {"slug": slug})
                await self._drained(order)
            try:
                await self._ensure_absent(order)
            except ReplicaFault as fault:
                # Repeated until it is gone; meanwhile the record says what is in the way.
                async with self._stores.write() as rows:
                    await rows.deployments.note_replica(order.replica_id, f"it cannot be ended yet: {fault}")
                raise
            async with self._stores.write() as rows:
                await rows.deployments.stop_replica(order.replica_id)

    async def _drained(self, order: ReplicaOrder) -> None:
        """Return once no gateway has a call at this replica, or may begin one; or time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(order.drain):
                while not await self._has_drained(order):  # noqa: ASYNC110 - other processes do it
                    await asyncio.sleep(_DRAINED_AGAIN_AFTER)

    async def _has_drained(self, order: ReplicaOrder) -> bool:
        try:
            return await self._stores.loads.drained(order.replica_id)
        except Unavailable:
            return False  # nobody can say; the time that was given bounds the wait

    async def _started(self, driver: ReplicaDriver, spec: ReplicaSpec, order: ReplicaOrder) -> RunningReplica:
        """Start it; while what runs replicas is away, wait for that as long as the patience lasts."""
        loop = asyncio.get_running_loop()
        patient_until = loop.time() + order.patience
        noted = ""
        while True:
            try:
                return await driver.ensure_running(spec)
            except DriverUnavailable as fault:
                if loop.time() >= patient_until:
                    raise
                if noted != str(fault):
                    noted = str(fault)
                    async with self._stores.write() as rows:
                        await rows.deployments.note_replica(order.replica_id, noted)
            await asyncio.sleep(_ASKED_AGAIN_AFTER)

    def _driver(self, kind: Driver) -> ReplicaDriver:
        try:
            return self._drivers[kind]
        except KeyError:
            name = "REPLICAS__PROCESS_DRIVER" if kind is Driver.PROCESS else "DOCKER__ENABLED"
            raise _DriverOff(
                f"the {kind} driver is off; an administrator can turn it on with MCP_PLATFORM_{name}=true"
            ) from None

    async def _ensure_absent(self, order: ReplicaOrder) -> None:
        if order.driver is Driver.PROCESS and order.driver not in self._drivers:
            return  # its processes ended with the worker that ran with that driver
        await self._driver(order.driver).ensure_absent(order.replica_id)

    async def _begin(self, order: ReplicaOrder) -> None:
        """Record the attempt, still showing why the one before failed."""
        async with self._stores.write() as rows:
            before = await rows.deployments.get_replica(order.replica_id)
            await rows.deployments.put_replica(
                Replica(
                    id=order.replica_id,
                    deployment_id=order.deployment_id,
                    ordinal=order.ordinal,
                    revision=order.revision,
                    state=ReplicaState.STARTING,
                    restarts=order.restarts,
                    reason=before.reason if before else None,
                    stderr_tail=before.stderr_tail if before else [],
                    started_at=datetime.now(UTC),
                )
            )

    async def _put(self, order: ReplicaOrder, running: RunningReplica) -> None:
        now = datetime.now(UTC)
        async with self._stores.write() as rows:
            await rows.deployments.put_replica(
                Replica(
                    id=order.replica_id,
                    deployment_id=order.deployment_id,
                    ordinal=order.ordinal,
                    revision=order.revision,
                    state=ReplicaState.HEALTHY,
                    url=running.shown_url,
                    pid=running.pid,
                    container=running.container,
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
