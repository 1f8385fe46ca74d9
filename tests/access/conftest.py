"""A platform of this room's own, which is strict and stands behind a proxy."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from temporalio.testing import WorkflowEnvironment

from api.v1.access import proof
from mcp_platform.settings import SecuritySettings
from tests.platform import RunningPlatform, quick_settings, running_platform
from tests.waiting import in_one_task


@pytest.fixture(scope="package")
async def strict(
    tmp_path_factory: pytest.TempPathFactory, temporal_environment: WorkflowEnvironment
) -> AsyncIterator[RunningPlatform]:
    """Give a platform that locks out after three wrong passwords, and after six from one address."""
    settings = quick_settings(tmp_path_factory.mktemp("strict"))
    security = SecuritySettings(lockout_threshold=3, lockout_address_threshold=6)
    api = settings.api.model_copy(update={"trusted_proxies": ["127.0.0.1"]})
    settings = settings.model_copy(update={"security": security, "api": api})
    running = running_platform(settings, temporal_environment.client, with_worker=False)
    async with in_one_task(running) as platform:
        yield platform


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass for those who prove who they are: the first delay is a second, soon sat out."""
    now = datetime.now(UTC)
    monkeypatch.setattr(proof, "datetime", SimpleNamespace(now=lambda _zone: now))
