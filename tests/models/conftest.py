"""A provider, and a rig that asks it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

import activities.models.asking
from activities.prompts import PROMPTS
from activities.prompts.reading import Prompt, read_prompt
from mcp_platform.security.sealing import load_sealer
from mcp_platform.settings import Settings
from storage.cache import open_cache
from storage.documents.sql import SqlDocuments
from storage.sql.engine import Database
from storage.stores import Stores
from tests.models.asking import CLEAR, WEATHER, Forecast, Rig
from tests.models.provider import Provider, running_provider
from tests.services.temporal import new_namespace


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """Give a provider that knows the weather."""
    async with running_provider() as running:
        running.knows(WEATHER)
        running.answers(WEATHER.name, CLEAR)
        yield running


@pytest.fixture(scope="session")
async def namespace(temporal_environment: WorkflowEnvironment) -> Client:
    """Give a namespace in which no platform asks models."""
    return await new_namespace(temporal_environment.client)


@pytest.fixture
async def rig(
    namespace: Client, sqlite_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Rig]:
    """Give a rig with empty stores."""

    def reading(name: str) -> Prompt:
        return WEATHER if name == WEATHER.name else read_prompt(name)

    monkeypatch.setitem(PROMPTS, WEATHER.name, Forecast)
    monkeypatch.setattr(activities.models.asking, "read_prompt", reading)
    settings = Settings(data_dir=tmp_path)
    cache = open_cache(settings)
    stores = Stores(sqlite_database, SqlDocuments(sqlite_database), cache)
    yield Rig(namespace, stores, load_sealer(settings))
    await cache.aclose()
