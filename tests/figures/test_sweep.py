"""The daily sweep forgets figures that are past their time."""

import time
from uuid import uuid4

from redis.asyncio import Redis

from mcp_platform.contracts.figures import CallCount, Window
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.stores import Stores
from tests.monitoring.test_sweep import beating_environment, monitoring_of
from tests.platform import RunningPlatform

HOUR = 3600


async def test_the_sweep_forgets_old_minutes(platform: RunningPlatform, sqlite_database: Database) -> None:
    stores = Stores(sqlite_database, SqlDocuments(sqlite_database), Redis())
    deployment_id, now = uuid4(), int(time.time()) // 60 * 60
    async with stores.write() as rows:
        await rows.figures.add_calls(
            CallCount(
                deployment_id=deployment_id,
                replica_id=None,
                minute=now - hours * HOUR,
                requests=1,
                errors=0,
                latency_ms=1.0,
                histogram={10: 1},
            )
            for hours in (0, 24, 26)
        )
    await beating_environment().run(monitoring_of(platform, stores).sweep_documents)
    async with stores.read() as rows:
        assert len(await rows.figures.calls(deployment_id, None, Window.HOUR.step, 0)) == 2
        assert len(await rows.figures.calls(deployment_id, None, Window.WEEK.step, 0)) == 3
