"""The drivers that the settings ask for, and the report on whether they can run anything."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Final

import structlog

from activities.clients.containers.driver import DockerDriver
from activities.clients.docker_engine import DockerEngine
from activities.clients.processes import ProcessDriver
from activities.clients.remotes import RemoteDriver
from activities.clients.services.driver import SwarmDriver
from activities.drivers import ReplicaDriver, ReplicaFault
from mcp_platform.contracts.deployments import Driver
from mcp_platform.contracts.drivers import DriverState
from mcp_platform.settings import Settings
from storage.stores import Stores

logger = structlog.get_logger(__name__)

_REPORTED_EVERY: Final = 3.0
"""Seconds between two looks at each engine."""


def open_drivers(settings: Settings, stack: AsyncExitStack) -> dict[Driver, ReplicaDriver]:
    """Make the drivers; none connects to anything before a deployment needs it.

    When the stack is closed, child processes end. Containers run on, and the next worker finds them.
    """
    drivers: dict[Driver, ReplicaDriver] = {Driver.REMOTE: RemoteDriver()}
    grace = settings.replicas.stop_grace
    if settings.process_driver:
        processes = ProcessDriver(settings.instance_id, grace)
        stack.push_async_callback(processes.close)
        drivers[Driver.PROCESS] = processes
    if settings.docker.enabled:
        engine = DockerEngine(settings.docker)
        stack.push_async_callback(engine.close)
        docker = DockerDriver(engine, settings.instance_id, grace)
        swarm = SwarmDriver(engine, settings.instance_id, grace)
        stack.push_async_callback(docker.close)
        stack.push_async_callback(swarm.close)
        drivers |= {Driver.DOCKER: docker, Driver.SWARM: swarm}
    return drivers


@asynccontextmanager
async def reported(drivers: Mapping[Driver, ReplicaDriver], stores: Stores) -> AsyncIterator[None]:
    """Tell the other processes every few seconds whether each container driver can run replicas."""
    watched = {kind: drivers[kind] for kind in (Driver.DOCKER, Driver.SWARM) if kind in drivers}
    tasks = [asyncio.create_task(_report(kind, driver, stores)) for kind, driver in watched.items()]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _report(kind: Driver, driver: ReplicaDriver, stores: Stores) -> None:
    told: str | None = ""
    while True:
        try:
            state = await state_of(driver)
            await stores.drivers.report(kind, state)
        except Exception:
            # Without a report the driver would count as good for ever.
            logger.exception("driver_not_looked_at", driver=kind)
        else:
            if state.trouble != told:
                told = state.trouble
                logger.info("driver_state", driver=kind, trouble=told)
        await asyncio.sleep(_REPORTED_EVERY)


async def state_of(driver: ReplicaDriver) -> DriverState:
    """See whether a driver can run replicas, and on how large a machine."""
    try:
        await driver.check()
    except ReplicaFault as fault:
        return DriverState(trouble=str(fault))
    with suppress(ReplicaFault):
        if isinstance(driver, DockerDriver | SwarmDriver):
            cpus, memory = await driver.largest()
            return DriverState(cpus=cpus, memory_bytes=memory)
    return DriverState()
