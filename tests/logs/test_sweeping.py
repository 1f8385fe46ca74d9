"""The daily sweep removes the logs of deployments that are gone."""

from pathlib import Path
from uuid import uuid4

from mcp_platform.settings import ReplicaLogSettings
from tests.logs.books import lines, open_book, order
from tests.logs.conftest import Written
from tests.monitoring.test_sweep import beating_environment, monitoring_of
from tests.platform import RunningPlatform


async def test_only_logs_of_known_deployments_are_kept(
    platform: RunningPlatform, deployed: Written, tmp_path: Path
) -> None:
    gone = uuid4()
    async with open_book(tmp_path, ReplicaLogSettings()) as book:
        for own in (deployed.id, gone):
            await book.of(order(own)).write(lines(0, 1))
        activities = monitoring_of(platform, platform.parts.stores, logs=book)
        await beating_environment().run(activities.sweep_documents)
        assert await book.deployments() == [deployed.id]
