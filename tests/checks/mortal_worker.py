"""A worker that tries servers as processes, to be killed: `ADDRESS NAMESPACE FOLDER INSTANCE`."""

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from temporalio.client import Client
from temporalio.worker import Worker

from activities.checks import CheckActivities
from activities.checks.trials import Trials
from activities.clients.packages import PackageRegistries
from activities.clients.processes import ProcessDriver
from activities.clients.server_talk import ServerTalk
from mcp_platform.connection import connect_temporal
from mcp_platform.contracts.deployments import Driver
from mcp_platform.names import TaskQueue
from mcp_platform.settings import Settings, TemporalSettings
from storage.stores import Stores, open_stores


async def serve(
    settings: Settings, client: Client, instance: str, stack: AsyncExitStack, stores: Stores
) -> None:
    """Work until cancelled."""
    driver = ProcessDriver(instance, 1.0)
    stack.push_async_callback(driver.close)
    talk = await stack.enter_async_context(ServerTalk(private=True))
    trials = Trials(stores, {Driver.PROCESS: driver}, talk, settings.trials)
    checks = CheckActivities(trials, PackageRegistries(settings.packages))
    await Worker(client, task_queue=TaskQueue.REPLICAS, activities=[checks.try_server]).run()


async def main() -> None:
    """Read the arguments, and work."""
    address, namespace, folder, instance = sys.argv[1:]
    settings = Settings(
        data_dir=Path(folder), temporal=TemporalSettings(address=address, namespace=namespace)
    )
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings))
        client = await connect_temporal(settings.temporal_address, settings.temporal)
        await serve(settings, client, instance, stack, stores)


if __name__ == "__main__":
    asyncio.run(main())
